"""Loading, Missing: stand in for the handler of a deployment while litellm is imported for it, or is not installed.

The import takes seconds. A gateway listens meanwhile and serves its other models, and a request for one of these waits,
but not for ever: the import may hang on a disk that is away.
"""

import asyncio
from typing import Final

from crplugins.core.body import Body
from crplugins.core.errors import DO_NOT_RETRY, SERVER_ERROR, GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.handlers import upstream_errors
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Handler, Unopened

WAIT_SECONDS: Final = 120.0
"""How long a request waits: many times what the import takes on a machine that is busy, and less than clients do."""

RETRY_AFTER: Final = 5


class Loading(Unopened):
    """Hands requests to the handler as soon as there is one.

    Attributes:
        deployment: the one that is waited for.
    """

    def __init__(self, deployment: Deployment, wait_seconds: float = WAIT_SECONDS) -> None:
        self.deployment = deployment
        self._wait_seconds = wait_seconds
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
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._loaded.wait()
        except TimeoutError:
            raise GatewayError(
                503,
                f"The model '{exchange.requested_model}' is being loaded. Please try again in {RETRY_AFTER} seconds.",
                type=SERVER_ERROR,
                code="model_loading",
                error_type="upstream_connect",
                headers=[("retry-after", str(RETRY_AFTER))],
            ) from None
        if self._handler is None:
            raise upstream_errors.unreachable(self.deployment.label, self._failure)
        return await self._handler.answer(exchange, body)


class Missing(Unopened):
    """Refuses the requests of a deployment that needs litellm, where it is not installed. Fallbacks may answer them.

    Args:
        advice: what is missing, and the command that brings it.
    """

    def __init__(self, advice: str) -> None:
        self._advice = advice

    async def answer(self, exchange: Exchange, body: Body) -> Reply:  # noqa: ARG002
        raise GatewayError(
            503,
            f"The model '{exchange.requested_model}' {self._advice}",
            type=SERVER_ERROR,
            code="model_not_installed",
            error_type="upstream_connect",
            headers=[DO_NOT_RETRY],
        )
