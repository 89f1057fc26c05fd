"""PriceList: what a token of a served model costs."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from crplugins.core.usage import Price
from crplugins.handlers.deployment import Deployment, Routes


class PriceList:
    """The price of a model; of several deployments with its name, that of one in turn.

    A resource of a PluginMiddleware, because litellm's table may have to be read first.
    """

    def __init__(self, deployments: Sequence[Deployment]) -> None:
        self._deployments = deployments
        self._routes = Routes((deployment.name, deployment) for deployment in deployments)

    def __call__(self, model: str) -> Price | None:
        deployment = self._routes.find(model)
        return None if deployment is None else deployment.price_for(model)

    def read(self) -> None:
        """Read litellm's table if a price is to be found there. Blocks: it is done here, never on a request."""
        for deployment in self._deployments:
            deployment.price_for(deployment.name)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is held open."""
