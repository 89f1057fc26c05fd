"""PriceList: what a token of a served model costs."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from crplugins.core.usage import Price
from crplugins.handlers.deployment import Deployment, Routes


class PriceList:
    """The price of a model; of several deployments with its name the highest, and none if any of them has none.

    Whichever deployment answers, a budget has then reserved enough, and none answers whose price nobody knows.

    A resource of a PluginMiddleware, because the list of prices may have to be read first.

    Args:
        fallback: the price of a model that is not listed, and may be served all the same by an app of one's own.
    """

    def __init__(self, deployments: Sequence[Deployment], *, fallback: Price | None = None) -> None:
        self._deployments = deployments
        self._fallback = fallback
        self._by_name: dict[str, list[Deployment]] = {}
        for deployment in deployments:
            self._by_name.setdefault(deployment.name, []).append(deployment)
        self._routes = Routes(self._by_name.items())

    def __call__(self, model: str) -> Price | None:
        deployments = self._by_name.get(model) or self._routes.find(model)  # a wildcard is no name that it matches
        if deployments is None:
            return self._fallback
        if len(deployments) == 1:
            return deployments[0].price_for(model)
        prices = [price for each in deployments if (price := each.price_for(model)) is not None]
        return None if len(prices) < len(deployments) else max(prices, key=lambda price: price.input + price.output)

    def serves(self, model: str) -> bool:
        """Whether a name is listed, or matches a wildcard that is."""
        return self._routes.find(model) is not None

    def read(self) -> None:
        """Read the list of prices if a price is to be found there. Blocks: it is done here, never on a request."""
        for deployment in self._deployments:
            deployment.price_for(deployment.name)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is held open."""
