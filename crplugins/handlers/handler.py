"""Handler: the interface between the chat completions endpoint and whatever answers."""

from types import TracebackType
from typing import Protocol, Self

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply


class Handler(Protocol):
    """Answers for one deployment. An async context manager, entered at start-up: it owns connections."""

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        """The whole answer, or the begun stream (`Reply.body` an async generator of complete events).

        Returns only once the upstream has accepted the request, so that its refusal is still a status. Keeps
        `exchange.attempts`, `exchange.served_model` and `exchange.price`. Cancelling the call, or closing the
        generator, ends the upstream request at once.

        Raises `GatewayError` for every failure the client is to see; the generator raises it too, for a failure after
        the first byte.
        """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
