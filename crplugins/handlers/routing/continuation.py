"""Continuation: a stream that has broken goes on at the next deployment, where it broke.

The client sees one stream: one id, one role, the same index, no word twice and none lost, one finish reason, one usage
and one end mark. Tool calls are shown when they are whole, so that one that is cut has never been seen: the answer
then goes on from the text before it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, COMPLETIONS
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.finish_reasons import is_end
from crplugins.core.sse import Event
from crplugins.handlers.routing.attempts import Attempts
from crplugins.handlers.routing.shown import Shown, ShownChat
from crplugins.handlers.routing.takeover import next_stream, takes_over
from crplugins.handlers.routing.whole_usage import events_of, joined

_MOST_WITHHELD: Final = 1024 * 1024
"""Bytes of tool calls that are held back; longer ones are shown as they come, and then not continued."""


class ContinuedStream:
    """The stream of a request, which the next deployment goes on with."""

    def __init__(self, attempts: Attempts, exchange: Exchange, body: Body, shown: Shown) -> None:
        self._attempts = attempts
        self._exchange = exchange
        self._body = body
        self._shown_before = shown
        self._goes_on = False  # an event may be another one than its deployment has sent
        self._withheld: list[Event] = []
        self._size = 0

    async def frames(self, frames: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        is_first = True
        while True:
            try:
                async with aclosing(self._shown(frames)) as pieces:
                    await anext(pieces)
                    if is_first:
                        is_first = False
                        yield b""
                    async for piece in pieces:
                        yield piece
                return
            except GatewayError as error:
                following = await self._next(error)
                if following is None:
                    raise
            frames = following

    async def _shown(self, frames: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The stream of one deployment, as the client sees it, after an empty piece."""
        splitter, exchange = self._exchange.dialect.splitter(), self._exchange
        try:
            async with aclosing(frames):
                yield b""
                async for piece in frames:
                    outward: list[Event] = []
                    for event in events_of(piece, exchange, splitter):
                        self._pass(event, outward)
                    if outward:
                        yield joined(outward, exchange)
            if self._withheld:
                yield joined(self._release(), exchange)
        finally:
            for event in self._release():  # what it said is paid for
                exchange.note_ahead(event)

    def _pass(self, event: Event, outward: list[Event]) -> None:
        shown = self._shown_before
        new = shown.joined(event) if self._goes_on else event
        if new is None:
            return
        if self._withheld or shown.calls(new):
            self._withheld.append(new)
            self._size += len(new.raw)
            if not (_ends(new) or self._size > _MOST_WITHHELD):
                return
            released = self._release()
        else:
            released = [new]
        for each in released:
            shown.add(each)
        outward += released

    def _release(self) -> list[Event]:
        released, self._withheld, self._size = self._withheld, [], 0
        return released

    async def _next(self, failure: GatewayError) -> AsyncGenerator[bytes, None] | None:
        """The stream that goes on after a failure; None if no deployment can, or will."""
        attempts, shown = self._attempts, self._shown_before
        if not shown.can_go_on(self._body):
            return None
        attempts.keep(shown.fits)
        if not takes_over(attempts, self._exchange, failure, "continue"):
            return None
        self._goes_on = True
        while attempts.left:
            try:
                return await next_stream(attempts, self._body, shown.ask)
            except GatewayError:  # also that it takes no beginning, which is nothing that the client has done
                attempts.keep(shown.fits)
        return None


async def shown_of(exchange: Exchange) -> Shown:
    """What keeps what the client of a request is shown."""
    return ShownChat(exchange) if exchange.dialect is CHAT else await asyncio.to_thread(_shown_elsewhere, exchange)


def _shown_elsewhere(exchange: Exchange) -> Shown:
    """Imported where a request needs it, and in a thread, as that takes a while."""
    from crplugins.handlers.routing.shown_completion import ShownCompletion
    from crplugins.handlers.routing.shown_translated import ShownTranslated
    from crplugins.handlers.translation.translated import chat_of, shown_blocks

    dialect = exchange.dialect
    if dialect is COMPLETIONS:
        return ShownCompletion(exchange)
    return ShownTranslated(exchange, shown_blocks(dialect), lambda body: chat_of(dialect, body))


def _ends(event: Event) -> bool:
    choices = () if event.answer is None else event.answer.choices or ()
    return event.is_done or any(is_end(each.finish_reason) for each in choices)
