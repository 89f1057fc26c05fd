"""Loading: stands in for the handler of a deployment while litellm is imported for it.

The import takes seconds. A gateway listens meanwhile and serves its other models, and a request for one of these waits.
"""

import asyncio

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.handlers import upstream_errors
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Handler, Unopened


class Loading(Unopened):
    """Hands requests to the handler as soon as there is one.

    Attributes:
        deployment: the one that is waited for.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._loaded = asyncio.Event()
        self._handler: Handler | None = None
        self._failure: Exception = LookupError("not loaded")

    def done(self, handler: Handler) -> None:
        """`handler` is open, and answers from now on."""
        self._handler = handler
        self._loaded.set()

    def failed(self, error: Exception) -> None:
        """There will be no handler. What waits is refused, or fails over to another deployment."""
        self._failure = error
        self._loaded.set()

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        await self._loaded.wait()
        if self._handler is None:
            raise upstream_errors.unreachable(self.deployment.label, self._failure)
        return await self._handler.answer(exchange, body)
