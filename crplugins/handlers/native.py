"""Native: a deployment whose provider speaks another protocol than OpenAI's, asked in its own where a client does."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.handlers.handler import Handler
from crplugins.handlers.spoken import ANTHROPICS


class Native:
    """Answers requests in Messages with one handler, and those in other protocols with another, which translates.

    What Anthropic says in Messages passes, as no translation of it could.

    Args:
        own: asks the provider in its own protocol.
        other: has litellm translate.
    """

    def __init__(self, own: Handler, other: Handler) -> None:
        self._own: Final = own
        self._other: Final = other
        self._stack = AsyncExitStack()

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        dialect = exchange.upstream_dialect or exchange.dialect
        return await (self._own if dialect in ANTHROPICS else self._other).answer(exchange, body)

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
