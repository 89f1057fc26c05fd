"""Native: a deployment whose provider speaks another protocol than OpenAI's, asked in its own where a client does."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.response_ids import ResponsesPlace
from crplugins.handlers.direct import DirectHandler
from crplugins.handlers.handler import Handler
from crplugins.handlers.protocols import ANTHROPICS, RESPONSES_ALONE, DialectSet


class Native:
    """Answers requests in some protocols with one handler, and those in others with another, which translates.

    What Anthropic says in Messages passes, as no translation of it could, and so does what is said in Responses alone.

    Args:
        own: asks the provider in its own protocols.
        other: has litellm translate.
        protocols: those in which `own` is asked.
    """

    def __init__(self, own: Handler, other: Handler, protocols: DialectSet = ANTHROPICS) -> None:
        self._own: Final = own
        self._other: Final = other
        self._protocols: Final = protocols
        self._stack = AsyncExitStack()

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        dialect = exchange.upstream_dialect
        return await (self._own if dialect in self._protocols else self._other).answer(exchange, body)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._own)
            await stack.enter_async_context(self._other)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()


class NativeKeeper(Native):
    """One whose provider speaks Responses alone, and keeps them.

    Args:
        own: asks in Responses.
        other: has litellm write them of chat completions.
    """

    def __init__(self, own: DirectHandler, other: Handler) -> None:
        super().__init__(own, other, RESPONSES_ALONE)
        self._keeper: Final = own

    @property
    def place(self) -> ResponsesPlace:
        return self._keeper.place

    async def forward(self, exchange: Exchange, below: str) -> Reply:
        return await self._keeper.forward(exchange, below)
