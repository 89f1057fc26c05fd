"""Continuation: a stream that has broken goes on at the next deployment, where it broke.

The client sees one stream: one id, one role, the same index, no word twice and none lost, one finish reason, one usage
and one end mark. Tool calls are shown when they are whole, so that one that is cut has never been seen: the answer
then goes on from the text before it.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.finish_reasons import is_end
from crplugins.core.sse import Event, Splitter
from crplugins.handlers.routing.attempts import Attempts
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.joint import Joint
from crplugins.handlers.routing.prefill import Prefill, prefill_of
from crplugins.handlers.routing.takeover import next_stream, takes_over
from crplugins.handlers.routing.transcript import Transcript, continued, may_be_continued
from crplugins.handlers.routing.whole_usage import events_of, joined

_MOST_WITHHELD: Final = 1024 * 1024
"""Bytes of tool calls that are held back; longer ones are shown as they come, and then not continued."""


class ContinuedStream:
    """The stream of a request, which the next deployment goes on with."""

    def __init__(self, attempts: Attempts, exchange: Exchange, body: Body) -> None:
        self._attempts = attempts
        self._exchange = exchange
        self._body = body
        self._transcript = Transcript()
        self._joint: Joint | None = None
        self._withheld: list[Event] = []
        self._size = 0

    async def frames(self, frames: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        while True:
            try:
                async with aclosing(self._shown(frames)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except GatewayError as error:
                following = await self._next(error)
                if following is None:
                    raise
            frames = following

    async def _shown(self, frames: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The stream of one deployment, as the client sees it."""
        splitter, exchange = Splitter(), self._exchange
        try:
            async with aclosing(frames):
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
        if self._joint is not None:
            joined_on = self._joint.of(event)
            if joined_on is None:
                return
            event = joined_on
        if self._withheld or _calls(event):
            self._withheld.append(event)
            self._size += len(event.raw)
            if not (_ends(event) or self._size > _MOST_WITHHELD):
                return
            released = self._release()
        else:
            released = [event]
        for each in released:
            self._transcript.add(each)
        outward += released

    def _release(self) -> list[Event]:
        released, self._withheld, self._size = self._withheld, [], 0
        return released

    async def _next(self, failure: GatewayError) -> AsyncGenerator[bytes, None] | None:
        """The stream that goes on after a failure; None if no deployment can, or will."""
        text, attempts = self._transcript.text, self._attempts
        if not self._transcript.can_be_continued or (text and not may_be_continued(self._body)):
            return None

        def fits(candidate: Candidate) -> bool:
            return not text or prefill_of(candidate.deployment) is not None

        attempts.keep(fits)
        if not takes_over(attempts, self._exchange, failure, "continue"):
            return None

        def rest(candidate: Candidate) -> Body:
            prefill = prefill_of(candidate.deployment) or Prefill()
            self._joint = self._joined_by(prefill, text)
            return continued(self._body, text, self._exchange.said.tokens(), prefill) if text else self._body

        while attempts.left:
            try:
                return await next_stream(attempts, self._body, rest)
            except GatewayError:  # also that it takes no beginning, which is nothing that the client has done
                attempts.keep(fits)
        return None

    def _joined_by(self, prefill: Prefill, text: str) -> Joint:
        return Joint(
            self._transcript.head,
            repeated=text if prefill.repeats else "",
            space=text[len(text.rstrip()) :] if prefill.trims else "",
        )


def _calls(event: Event) -> bool:
    choices = () if event.answer is None else event.answer.choices or ()
    return any(each.delta is not None and (each.delta.tool_calls or each.delta.function_call) for each in choices)


def _ends(event: Event) -> bool:
    choices = () if event.answer is None else event.answer.choices or ()
    return event.is_done or any(is_end(each.finish_reason) for each in choices)
