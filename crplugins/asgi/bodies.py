"""Response bodies on their way out: ASGI messages shown to the plugins as events.

Observers only: every message goes out as the identical object before it is looked at. With a rewriter: only whole
events go out, and a message none of whose events changed is still the identical object.
"""

from collections.abc import Iterable
from typing import Protocol

from starlette.types import Message

from crplugins.core.errors import GatewayError, broken_off, internal_error
from crplugins.core.exchange import Exchange
from crplugins.core.pipeline import Run
from crplugins.core.sse import DONE, MAX_DOCUMENT_BYTES, Event, EventTooLarge, Splitter, error_event

_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r", b"\n\r")


class ResponseBody(Protocol):
    """What happens to each `http.response.body` of one response.

    Both raise GatewayError when a plugin that decides has failed.
    """

    def before(self, message: Message) -> Iterable[Message]:
        """The messages to send in its place."""

    def after(self, message: Message) -> None:
        """Called once they are sent, or could not be."""

    def cut(self) -> bytes:
        """What ends an event the client has only in part, so that another can follow it."""


class Passthrough:
    """A body nobody reads."""

    def before(self, message: Message) -> Iterable[Message]:
        return (message,)

    def after(self, message: Message) -> None:
        pass

    def cut(self) -> bytes:
        return b""


class ObservedEvents:
    """A stream of server-sent events that plugins only look at."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._exchange = run.exchange
        self._splitter = Splitter()
        self._blind = False

    def before(self, message: Message) -> Iterable[Message]:
        return (message,)

    def after(self, message: Message) -> None:
        if self._blind:
            return
        try:
            events = split(self._exchange, self._splitter, message)
        except EventTooLarge:
            self._blind = True
            return
        for event in events:
            self._exchange.note_facts(event)
            self._run.event(event)

    def cut(self) -> bytes:
        return b"\n\n" if self._splitter.rest else b""


class RewrittenEvents:
    """A stream of server-sent events that a plugin may change, drop from or add to."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._exchange = run.exchange
        self._splitter = Splitter()
        self._done = False
        self._ended = False
        self._failure: GatewayError | None = None

    def before(self, message: Message) -> Iterable[Message]:
        more = message.get("more_body", False)
        try:
            events = split(self._exchange, self._splitter, message)
        except EventTooLarge:
            raise internal_error() from None
        outward: list[Event] = []
        try:
            for event in events:
                self._pass_up(event, outward)
            if not more:
                self._end(outward)
                self._check_end(outward)
        except GatewayError as failure:
            if not outward:
                raise
            self._failure, more = failure, True  # what passed before it goes out first
        body = outward[0].raw if len(outward) == 1 else b"".join([event.raw for event in outward])
        if body == message.get("body", b"") and self._failure is None:
            return (message,)
        return ({"type": "http.response.body", "body": body, "more_body": more},) if body or not more else ()

    def after(self, message: Message) -> None:  # noqa: ARG002  # of the protocol
        if self._failure is not None:
            raise self._failure

    def cut(self) -> bytes:
        return b""

    def _pass_up(self, event: Event, outward: list[Event]) -> None:
        self._exchange.note_facts(event)
        if event.is_done:
            self._done = True
            self._end(outward)
        passed = self._run.event(event)
        if passed is not None:
            outward.append(passed)

    def _end(self, outward: list[Event]) -> None:
        """Add what the plugins add to a complete stream, once: before [DONE], or at the end of one without it."""
        if not self._ended and not self._exchange.failed_in_stream:
            self._ended = True
            outward += self._run.end()

    def _check_end(self, outward: list[Event]) -> None:
        """A stream of an app that stops amid its answer gets an end that no client takes for one."""
        exchange = self._exchange
        if self._done or exchange.finish_reason is not None or exchange.failed_in_stream or not exchange.said:
            return
        if outward and not outward[-1].raw.endswith(_BLANK_LINES):
            outward.pop()  # half an event, which would swallow the next
        failure = broken_off()
        exchange.failed(failure, in_stream=True)
        outward += [error_event(failure), DONE]


class DocumentBody:
    """A plain JSON answer: one event, when it is whole. One that is too long passes unseen by observers and is refused
    where a plugin must rewrite it.

    `start` is the held back `http.response.start` of an answer whose length a plugin may change, None for observers.
    """

    def __init__(self, run: Run, start: Message | None) -> None:
        self._run = run
        self._exchange = run.exchange
        self._start = start
        self._parts: list[bytes] = []
        self._size = 0

    def before(self, message: Message) -> Iterable[Message]:
        if self._start is None:
            return (message,)
        if not self._gather(message):
            return ()
        outward = self._pass_up()
        body = b"" if outward is None else outward.raw
        headers = [h for h in self._start["headers"] if h[0] != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        return ({**self._start, "headers": headers}, {"type": "http.response.body", "body": body})

    def after(self, message: Message) -> None:
        if self._start is None and self._gather(message):
            self._pass_up()

    def cut(self) -> bytes:
        return b""

    def unread(self) -> Message:
        """The held start, for a body that the server itself will read."""
        assert self._start is not None
        return self._start

    def _gather(self, message: Message) -> bool:
        """Whether the document is whole now."""
        body = message.get("body", b"")
        self._size += len(body)
        if self._size > MAX_DOCUMENT_BYTES:
            if self._start is not None:
                raise internal_error()
            self._parts.clear()
            return False
        self._parts.append(body)
        return not message.get("more_body", False)

    def _pass_up(self) -> Event | None:
        event = Event.json_document(b"".join(self._parts))
        self._exchange.note_facts(event)
        return self._run.event(event)


def split(exchange: Exchange, splitter: Splitter, message: Message) -> list[Event]:
    """The events a message completes; its last message completes the remaining one."""
    body = message.get("body", b"")
    if exchange.split is not None and exchange.split[0] is body and not splitter.rest:
        return exchange.split[1]
    events = splitter.feed(body)
    if not message.get("more_body", False) and (rest := splitter.finish()) is not None:
        events.append(rest)
    return events
