"""DirectStream: relays an upstream's event stream byte for byte, and never lets a cut stream look complete."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextvars import copy_context
from typing import Final

import msgspec

from crplugins.core.chunk_reader import ChunkReader
from crplugins.core.completeness import Completeness
from crplugins.core.dialects import CHAT, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Attempt, Exchange, Push
from crplugins.core.sse import (
    FEW_BYTES,
    MAX_EVENT_BYTES,
    MOST_EVENTS,
    Event,
    EventTooLarge,
    first_events,
)
from crplugins.core.usage import TokenUsage
from crplugins.core.wire import AnswerFacts, Misshapen
from crplugins.handlers import upstream_errors
from crplugins.handlers.deadlines import Patience
from crplugins.handlers.error_bodies import error_in_choices
from crplugins.handlers.http.interface import HttpError, Response

_LINGER_SECONDS: Final = 0.25
"""How long to wait for the end of the body after [DONE], so that the connection can be used again."""

_GRACE_SECONDS = 2.0
"""How long to wait for [DONE] when every choice has ended and usage has come: some upstreams never send it, and go on
with heartbeats."""

_USAGE_GRACE_SECONDS = 5.0
"""The same where usage has not come, which is sent after the finish reason."""

_MOST_HELD: Final = 20_000
"""Events without a token that are kept for the client until the first one comes. Of many, comments are not."""


class DirectStream:
    """Relays one response.

    Nothing is sent before the first token, so that a failure up to it is a status, and another deployment can still be
    tried. Only whole events are sent, so that an error frame never lands inside half an event. Heartbeats other than
    comments (`event: ping`, `data: {}`) are dropped: seven to nine of eleven clients fail on them. No heartbeat moves
    the deadline. What follows a complete answer is not read, and cannot make it a failure.
    """

    def __init__(
        self,
        deployment: str,
        secrets: tuple[str | None, ...],
        response: Response,
        patience: Patience,
        skip_malformed: int,
        exchange: Exchange,
        attempt: Attempt,
        dialect: Dialect,
    ) -> None:
        self._deployment = deployment
        self._secrets = secrets
        self._response = response
        self._exchange = exchange
        self._clock = exchange.clock
        self._attempt = attempt
        self._dialect = dialect
        self._reader = ChunkReader() if dialect is CHAT else None
        self._looks_at_each = self._reader is not None  # until it knows the first chunk
        self._splitter = self._dialect.splitter()
        self._state = Completeness(exchange.choices)
        self._spoke = False  # a token came, or an end
        self._ended = False  # every choice came to its end
        self._counted = False  # usage came
        self._failure: GatewayError | None = None  # raised after the events that came before it
        self._last_count: TokenUsage | None = None  # of the event that failed, which no plugin sees
        self._patience = patience
        self._skip_malformed = skip_malformed
        self._later = b""  # read already, and to be looked at when others have had their turn
        self._begun = False  # the frames are read; until then the deadline is that of the request
        self._push: Push | None = None
        self._within_request: Callable[[Push, bytes], bool] | None = None  # runs what splits a piece in its context
        self._chunk: Event | None = None  # one of the first
        self._stopped = False  # the piece that is read next has been pushed already
        self._unraised: Exception | None = None  # what has gone wrong with it

    async def begin(self, head: bytes) -> AsyncGenerator[bytes, None]:
        """The frames, returned when the first token has come. `head` is what was read of the body before.

        Raises `GatewayError` for a stream that fails before it; the iterator raises it for later failures.
        """
        events: list[Event] = []
        try:
            frames = self._frames(await self._opening(head, events))
        except (GatewayError, asyncio.CancelledError):  # some count the prompt first, and the client leaves behind that
            if self._last_count is None:
                self._exchange.note_unseen(events)
            raise
        self._chunk = events[-1] if events else None
        await anext(frames)  # closing a generator that was never started runs nothing of it, and leaks the connection
        return frames

    def push_to(self, push: Push) -> None:
        """`Reply.push_to`. What a plugin logs of a piece has the request's id, though its task does not run."""
        self._push = push
        self._within_request = copy_context().run
        self._response.pass_through(self._pass, self._left)

    def _pass(self, piece: bytes) -> bool:
        """Push the events in the next bytes of the body. False where something is left for the generator."""
        repeated = self._exchange.repeated
        if repeated is None or not repeated.read(piece):
            assert self._within_request is not None
            return self._within_request(self._pass_events, piece)
        assert self._push is not None
        self._stopped = not self._push(piece)
        return not self._stopped

    def _left(self) -> float:
        """Seconds until the next token is too late, since the last one that was passed."""
        last_token = self._exchange.timings.last_token
        if last_token is None or not self._state.open:
            return 0.0
        return self._patience.stall - (self._clock() - last_token)

    def _pass_events(self, piece: bytes) -> bool:
        """The same of a piece that has to be split."""
        assert self._push is not None
        try:
            events = self._next_events(piece)
            has_room = not events or self._push(self._frame(events))
        except Exception as error:
            self._unraised, has_room = error, False
        self._stopped = not has_room or self._failure is not None or self._state.done or bool(self._later)
        return not self._stopped

    def _frame(self, events: list[Event]) -> bytes:
        """The bytes of events, which plugins need not split again."""
        frames = events[0].raw if len(events) == 1 else b"".join([event.raw for event in events])
        self._exchange.split = frames, events
        return frames

    async def _opening(self, piece: bytes, events: list[Event]) -> list[Event]:
        """The events up to the first token, added to `events`."""
        size = 0
        while True:
            events += self._next_events(piece)
            size += len(piece) - len(self._later)
            if self._spoke:
                return events
            if self._failure is not None:
                raise self._counted_failure(self._failure)
            if not piece:
                raise upstream_errors.cut_short(self._deployment, "no token came")
            if len(events) > MOST_EVENTS:
                events[:] = [event for event in events if event.data is not None]
            if size > MAX_EVENT_BYTES or len(events) > _MOST_HELD:
                raise upstream_errors.malformed(self._deployment, "no token in the first events")
            if self._later:
                await asyncio.sleep(0)
                piece = self._later
                continue
            try:
                piece = await self._response.read()
            except (HttpError, TimeoutError) as cause:
                piece = self._broken_off(cause)

    async def _frames(self, events: list[Event]) -> AsyncGenerator[bytes, None]:
        self._begun = True
        self._response.expire_in(self._seconds())
        try:
            yield b""
            while len(events) > MOST_EVENTS:
                held, events = events[:MOST_EVENTS], events[MOST_EVENTS:]
                yield self._frame(held)
                await asyncio.sleep(0)
            while True:
                if events or self._stopped:  # the client is waited for also where all is pushed
                    self._stopped = False
                    yield self._frame(events)
                if self._failure is not None:
                    raise self._counted_failure(self._failure)
                if self._state.done:
                    return
                if self._later:
                    await asyncio.sleep(0)
                    piece = self._later
                else:
                    try:
                        piece = await self._response.read()
                    except (HttpError, TimeoutError) as cause:
                        piece = self._broken_off(cause)
                events = self._next_events(piece)
        except GatewayError as error:
            self._attempt.fail(error, self._clock())
            raise
        finally:
            self._close()

    def _broken_off(self, cause: HttpError | TimeoutError) -> bytes:
        """Where a stream breaks after its last word, its body has ended; elsewhere the failure is raised."""
        if self._state.complete:
            return b""
        if isinstance(cause, TimeoutError):
            missed = self._patience.missed(cause, spoke=self._begun)
            raise upstream_errors.timed_out(self._deployment, *missed) from None
        raise upstream_errors.cut_short(self._deployment, cause) from None

    def _next_events(self, piece: bytes) -> list[Event]:
        """The events for the client in the next bytes of the body; `b""` is its end."""
        if not piece:
            return self._last_events()
        if self._stopped:
            if self._unraised is not None:
                raise self._unraised
            return []
        self._exchange.repeated = None
        piece, self._later = first_events(piece) if len(piece) > FEW_BYTES else (piece, b"")
        try:
            return self._passable(self._splitter.feed(piece))
        except EventTooLarge as error:
            raise upstream_errors.malformed(self._deployment, str(error)) from None

    def _passable(self, events: Iterable[Event]) -> list[Event]:
        """The events for the client. Stops at [DONE], and at a failure, which is kept."""
        passable: list[Event] = []
        alive = False
        events = iter(events)
        for event in events:
            answer = event.answer
            if event.text is not None and answer is not None and answer.choices and not self._looks_at_each:
                self._state.see_text(answer.choices[0])
                self._spoke = alive = True
                self._ended = False
                passable.append(event)
            elif answer is None or answer.error is not None or answer.__class__ is Misshapen:
                self._see_other(event, passable)
                if self._state.done or self._failure is not None:
                    break
            elif answer.choices or not event.is_heartbeat:
                event = self._readable(event)
                alive |= self._see_answer(event, event.answer or answer)
                if self._failure is not None:
                    self._count_behind(events)
                    break
                passable.append(event)
                if answer.ends:
                    break
        if alive and self._begun:
            self._response.expire_in(self._patience.stall if self._state.open else self._seconds())
        return passable

    def _readable(self, event: Event) -> Event:
        """The event as clients can read it."""
        if self._reader is None:
            return self._dialect.readable(event)
        self._reader.spoke = self._spoke
        event = self._reader.read(event)
        self._looks_at_each = self._reader.looks_at_each is not False
        return event

    def _see_answer(self, event: Event, answer: AnswerFacts) -> bool:
        """Whether a part of the answer is a sign of life: a token, an end, the first count of tokens after it."""
        alive = False
        self._state.see(event)
        if self._state.failed:
            self._failure = self._failure_in(answer)
            self._last_count = answer.counted
            return alive
        if answer.says():
            self._spoke = alive = True
            self._ended = False
        elif not self._ended and self._state.complete:
            self._spoke = self._ended = alive = True
        if (unended := self._exchange.unended) is not None:  # it has begun there, and its client needs its id
            unended.note(event)
            self._spoke = True
        if answer.usage is not None and not self._counted:
            self._counted = True
            alive = alive or self._ended
        return alive

    def _count_behind(self, events: Iterable[Event]) -> None:
        """Take the count that stands behind a failure, where it has come with it. It is not waited for."""
        counts = (event.answer.counted for event in events if event.answer is not None)
        self._last_count = self._last_count or next(filter(None, counts), None)

    def _failure_in(self, answer: AnswerFacts) -> GatewayError:
        if (error := error_in_choices(answer)) is not None:
            return upstream_errors.refusal_in_stream(error, self._deployment, self._secrets)
        cause = "its finish_reason is a failure, it calls a tool without a name, or its end came before a reason"
        return upstream_errors.cut_short(self._deployment, cause)

    def _see_other(self, event: Event, passable: list[Event]) -> None:
        """A comment, the end mark, an error or a malformed event."""
        if event.is_comment:
            passable.append(event)
        elif event.is_done:
            self._see_done(event, passable)
        elif not event.data or self._state.is_behind(event):
            return
        elif event.is_malformed:
            self._see_malformed()
        else:
            self._see_error(event)

    def _see_malformed(self) -> None:
        """Left out, if it is one of few. In the middle of a tool call it may be a part of the arguments: a break."""
        if not self._state.calls and upstream_errors.leaves_out(self._deployment, self._attempt, self._skip_malformed):
            self._state.lost = True
        else:
            self._failure = upstream_errors.malformed(self._deployment, "an event is no chunk")

    def _see_done(self, mark: Event, passable: list[Event]) -> None:
        self._state.done = True
        if self._state.complete:
            self._spoke = True
            passable += self._end(passable, mark)
        else:
            self._failure = upstream_errors.cut_short(self._deployment, "[DONE] came before a finish_reason")

    def _end(self, events: list[Event], own_mark: Event | None = None) -> list[Event]:
        """What ends the answer after these events: a reason for each choice that never had one, and the end mark, in
        protocols without one that of the stream itself."""
        ends = self._missing_ends(events) if self._state.open else []
        mark = self._dialect.closing_mark() or own_mark
        return ends if mark is None else [*ends, mark]

    def _missing_ends(self, events: list[Event]) -> list[Event]:
        reason = "tool_calls" if self._state.calls else "stop"
        chunk = events[-1] if events else self._chunk
        ends = [self._dialect.end_of(choice, reason, chunk) for choice in sorted(self._state.open)] if chunk else []
        return [event for event in ends if event is not None]

    def _see_error(self, event: Event) -> None:
        """Before the first token an error is a status, after it an event of ours. No plugin sees the upstream's."""
        error = self._dialect.error_in(event)
        self._failure = upstream_errors.refusal_in_stream(error, self._deployment, self._secrets)
        self._last_count = None if event.answer is None else event.answer.counted

    def _counted_failure(self, failure: GatewayError) -> GatewayError:
        """The failure, whose count is the last word: it holds for the events before it, which have been passed on."""
        if self._last_count is not None:
            self._exchange.counted(self._last_count, "provider")
        self._failure = None  # its traceback will hold this stream
        return failure

    def _seconds(self) -> float:
        """Seconds to wait for the next token, or for [DONE] once every choice has ended."""
        if not self._state.complete:
            return self._patience.stall
        return min(_GRACE_SECONDS if self._counted else _USAGE_GRACE_SECONDS, self._patience.stall)

    def _last_events(self) -> list[Event]:
        """What is still to be sent at the end of the body. An answer that had not come to its end is a failure."""
        events: list[Event] = []
        rest = self._splitter.finish()
        if rest is not None and (rest.answer is not None or rest.is_done):  # else it is half an event
            whole = rest.raw.rstrip(b"\r\n") + b"\n\n"  # without its blank line every client ignores it
            events = self._passable([msgspec.structs.replace(rest, raw=whole)])
        if self._failure is None and not self._state.done:
            if self._state.complete:
                self._state.done = True
                events += self._end(events)
            else:
                self._failure = upstream_errors.cut_short(self._deployment, "the body ended before a finish_reason")
        return events

    def _close(self) -> None:
        """Returns the connection to the pool, or closes it at once if the upstream is still sending."""
        self._attempt.end(self._clock())
        if self._state.failed and not self._attempt.error_type:
            self._attempt.error_type = "upstream_stream_broken"
        self._response.close(_LINGER_SECONDS if self._state.done else 0.0)  # for the client the request is over
