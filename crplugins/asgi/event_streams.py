"""Event streams on their way out: ASGI messages split into server-sent events, which the plugins see.

Observers only: every message goes out as the identical object before it is looked at. With a rewriter: only whole
events go out, and a message none of whose events changed is still the identical object. A stream that does not come to
its end is recorded as broken; with a rewriter it ends with an error, and no heartbeat but a comment reaches a client.
"""

from collections.abc import Callable, Iterable, Iterator

from starlette.types import Message

from crplugins.asgi.sending import BODY
from crplugins.core.chunk_reader import ChunkReader
from crplugins.core.completeness import Completeness
from crplugins.core.dialects import CHAT
from crplugins.core.errors import GatewayError, broken_off, internal_error
from crplugins.core.exchange import Exchange
from crplugins.core.pipeline import Run
from crplugins.core.repeated_chunk import RepeatedChunk
from crplugins.core.sse import Event, EventTooLarge, Splitter

_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r", b"\n\r")


class AnswerEvents:
    """The events of a body that are part of its answer, each readable to the SDKs of its dialect, up to its end mark.

    Streams of other paths pass as they are. Heartbeats other than comments are left out, and whatever follows the end
    mark. Events that a handler of ours has split are what it let through, and are not judged again.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._dialect = exchange.dialect
        self._splitter: Splitter | None = None  # nothing of what a handler has split needs one, nor a reader
        self._reader: ChunkReader | None = None
        self._completeness = Completeness(exchange.choices)
        self._asks_model = exchange.asks_model

    @property
    def done(self) -> bool:
        return self._completeness.done

    @property
    def rest(self) -> bytes:
        """Bytes of an event that has not ended yet."""
        return b"" if self._splitter is None else self._splitter.rest

    def of(self, message: Message) -> Iterable[Event]:
        """The events that a message completes; its last message completes the remaining one.

        Raises `EventTooLarge`.
        """
        body, known = message.get("body", b""), self._exchange.split
        splitter = self._splitter
        if known is not None and known[0] is body and (splitter is None or not splitter.rest):
            return known[1]
        if splitter is None:
            splitter = self._splitter = self._dialect.splitter()
        events = splitter.feed(body)
        if not message.get("more_body", False) and (rest := splitter.finish()) is not None:
            events.append(rest)
        return self._judged(events) if self._asks_model else events

    @property
    def failed(self) -> bool:
        """An error of the app's own has come."""
        return self._completeness.failed

    def is_cut(self) -> bool:
        """Whether the answer, now that it is over, had begun and not come to its end, and nobody has said so yet."""
        if self._exchange.failed_in_stream or not self._completeness.begun:
            return False
        return not self._completeness.complete

    def _judged(self, events: Iterable[Event]) -> Iterable[Event]:
        for event in events:
            if self._completeness.done:
                return
            if event.is_heartbeat or (
                (event.answer is None or event.answer.error) and self._completeness.is_behind(event)
            ):
                continue
            if event.answer is None and event.is_done:
                self._completeness.see(event)
                mark = event if event.data == b"[DONE]" else self._dialect.end_mark()
                if mark is not None:
                    yield mark
            else:
                event = self._readable(event)
                self._completeness.see(event)
                yield event

    def _readable(self, event: Event) -> Event:
        if self._dialect is not CHAT:
            return self._dialect.readable(event)
        if self._reader is None:
            self._reader = ChunkReader()
        return self._reader.read(event)


class ObservedEvents:
    """A stream of server-sent events that plugins only look at."""

    held: Message | None = None
    rewrites = False

    def __init__(self, run: Run) -> None:
        self._run = run
        self._exchange = run.exchange
        self._events = AnswerEvents(run.exchange)
        self._note: Callable[[Event], None] | None = None
        self._blind = False
        self.ended = False

    def before(self, message: Message) -> Iterable[Message]:
        return (message,)

    def after(self, message: Message) -> None:
        if self._blind:
            return
        note = self._note = self._note or self._run.hearing()
        try:
            for event in self._events.of(message):
                note(event)
                self._run.event(event)
                self.ended = event.data == b"[DONE]" or (event.answer is not None and event.answer.ends)
        except EventTooLarge:
            self._blind = True
            return
        if not message.get("more_body", False) and self._events.is_cut():
            self._exchange.failed(broken_off(), in_stream=True)

    def cut(self) -> bytes:
        return b"\n\n" if self._events.rest else b""


class RewrittenEvents:
    """A stream of server-sent events that a plugin may change, drop from or add to."""

    held: Message | None = None
    rewrites = True

    def __init__(self, run: Run) -> None:
        self._run = run
        self._exchange = run.exchange
        self._events = AnswerEvents(run.exchange)
        self._note: Callable[[Event], None] | None = None
        self._added_to = False
        self._repeated: RepeatedChunk | None = None
        self.ended = False

    def expect_repeats(self) -> None:
        """The handler may hand on, unsplit, what repeats the last chunk: nobody else reads the events that it sends."""
        if not self._run.pipeline.reads_texts:
            self._repeated = RepeatedChunk()

    def before(self, message: Message) -> Iterable[Message]:
        body, more = message.get("body", b""), message.get("more_body", False)
        outward: list[Event] = []
        event = passed = None
        note = self._note = self._note or self._run.hearing()
        try:
            for event in self._events.of(message):
                if (event.answer is None or event.answer.ends) and event.is_done and not self._pass_end(outward):
                    continue
                note(event)
                if self._exchange.failed_in_stream:  # an error of the app's own
                    self._add_cut(outward)
                passed = self._run.event(event)
                if passed is not None:
                    outward.append(passed)
            if not more and not self._events.done:
                self._add(outward)
                self._check_end(outward)
        except EventTooLarge:
            raise internal_error() from None
        except GatewayError as failure:
            if not outward:
                raise
            return _before_failure({"type": BODY, "body": _joined(outward), "more_body": True}, failure)
        self._note_passed(event, passed)
        shown = _joined(outward)
        if shown == body:
            return (message,)
        return ({"type": BODY, "body": shown, "more_body": more},) if shown or not more else ()

    def after(self, message: Message) -> None:
        pass

    def cut(self) -> bytes:
        outward: list[Event] = []
        self._add_cut(outward)
        return _joined(outward)

    def _note_passed(self, event: Event | None, passed: Event | None) -> None:
        """The last event of a piece has passed, if there was one."""
        # Until the answer has named its model, more is kept of a chunk than its text.
        if self._repeated is not None and event is not None and passed is not None and self._exchange.provider_model:
            self._exchange.repeated = self._repeated if self._repeated.has_passed(event, passed) else None

    def _pass_end(self, outward: list[Event]) -> bool:
        """The end mark came. False where it is none: the answer in front of it had not come to its end."""
        if self._events.is_cut():
            self._break_off(outward)
            return False
        self._add(outward)
        self.ended = True
        return True

    def _add(self, outward: list[Event]) -> None:
        """Add what the plugins add to a complete stream, once: before the end mark, or at the end of one without it."""
        if not self._added_to and not self._exchange.failed_in_stream:
            self._added_to = True
            outward += self._run.end()

    def _add_cut(self, outward: list[Event]) -> None:
        """Add what the plugins add to a broken stream, once: before whatever says that it is broken."""
        if not self._added_to:
            self._added_to = True
            outward += self._run.cut()

    def _check_end(self, outward: list[Event]) -> None:
        """A stream of an app that stops in the middle of its answer gets an end that no client takes for one.

        One that ends with an error of its own gets the end mark.
        """
        if not self._events.is_cut():
            mark = self._exchange.dialect.end_mark() if self._events.failed else None
            outward += [] if mark is None else [mark]
            return
        if outward and not outward[-1].raw.endswith(_BLANK_LINES):
            outward.pop()  # half an event, which would swallow the next
        self._break_off(outward)

    def _break_off(self, outward: list[Event]) -> None:
        failure = broken_off()
        self._add_cut(outward)
        self._exchange.failed(failure, in_stream=True)
        outward += self._exchange.last_events(failure)
        self.ended = True


def _joined(events: list[Event]) -> bytes:
    return events[0].raw if len(events) == 1 else b"".join([event.raw for event in events])


def _before_failure(message: Message, failure: GatewayError) -> Iterator[Message]:
    """What passed before a failure goes out first."""
    yield message
    raise failure
