"""Answers of an app in another form than the client asked for, or under a content type that does not tell their form.

Some servers call a stream of events `text/plain` or `application/json`, answer with a document where a stream was asked
for, or with a stream where a document was. With a plugin that rewrites, the client gets the form that it asked for;
plugins that only look at the answer see its facts whatever its form.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Final

from starlette.types import Message

from crplugins.asgi.bodies import ResponseBody
from crplugins.asgi.documents import DocumentBody, Gathered, document_messages
from crplugins.asgi.event_streams import ObservedEvents, RewrittenEvents
from crplugins.core.completeness import Completeness
from crplugins.core.errors import broken_off
from crplugins.core.exchange import Exchange
from crplugins.core.pipeline import Run
from crplugins.core.sse import Event, begins_stream

UNCLEAR_TYPES: Final = frozenset(
    {b"", b"text/plain", b"application/octet-stream", b"application/json", b"text/event-stream"}
)
"""Content types under which streams and documents have been seen."""


class UnclearBody:
    """A success whose first bytes tell what it is.

    `held` is its start where a plugin may rewrite it, None for observers.
    """

    def __init__(self, run: Run, held: Message | None) -> None:
        self._run = run
        self.held = held
        self.rewrites = held is not None
        self._head = b""
        self._body: ResponseBody | None = None

    @property
    def ended(self) -> bool:
        return self._body is not None and self._body.ended

    def before(self, message: Message) -> Iterable[Message]:
        if self._body is not None:
            return self._body.before(message)
        start, whole = self.held, self._known(message)
        if whole is None or start is None:
            return ()
        self._body = self._choose(start, is_stream=begins_stream(self._head) is True)
        if not isinstance(self._body, RewrittenEvents):
            return self._body.before(whole)
        self.held = None
        return chain((as_event_stream(self._run.exchange, start),), self._body.before(whole))

    def after(self, message: Message) -> None:
        if self._body is not None:
            self._body.after(message)
        elif (whole := self._known(message)) is not None:
            is_stream = begins_stream(self._head) is True
            self._body = ObservedEvents(self._run) if is_stream else DocumentBody(self._run, None)
            self._body.after(whole)

    def cut(self) -> bytes:
        return b"" if self._body is None else self._body.cut()

    def _known(self, message: Message) -> Message | None:
        """The message with all that came before it, once its form can be told."""
        self._head += message.get("body", b"")
        if begins_stream(self._head) is None and message.get("more_body", False):
            return None
        return {**message, "body": self._head}

    def _choose(self, start: Message, *, is_stream: bool) -> ResponseBody:
        exchange = self._run.exchange
        if is_stream:
            was_asked = exchange.stream or exchange.body is None  # who has not read the request cannot know better
            return RewrittenEvents(self._run) if was_asked else StreamAsDocument(self._run, start)
        return DocumentAsStream(self._run, start) if exchange.stream else DocumentBody(self._run, start)


class DocumentAsStream:
    """A document where a stream was asked for. What holds no answer passes as it is."""

    rewrites = True
    ended = False

    def __init__(self, run: Run, held: Message) -> None:
        self.held: Message | None = held
        self._start = held
        self._exchange = run.exchange
        self._gathered = Gathered()
        self._document = DocumentBody(run, held)
        self._events = RewrittenEvents(run)

    def before(self, message: Message) -> Iterable[Message]:
        body = self._gathered.add(message)
        if body is None:
            self._gathered.refuse_too_long()
            return ()
        dialect = self._exchange.dialect
        answer = dialect.document(body).answer
        events = None if answer is None or not answer.choices else dialect.stream_of(body)
        if events is None:
            return self._document.before({"type": message["type"], "body": body})
        frames = b"".join([event.raw for event in events])
        start = as_event_stream(self._exchange, self._start)
        return chain((start,), self._events.before({"type": message["type"], "body": frames}))

    def after(self, message: Message) -> None:
        pass

    def cut(self) -> bytes:
        return b""


class StreamAsDocument:
    """A stream where a document was asked for. A stream that is no answer passes as it is; one that breaks is a 502."""

    rewrites = True
    ended = False

    def __init__(self, run: Run, held: Message) -> None:
        self.held: Message | None = held
        self._start = held
        self._exchange = run.exchange
        self._gathered = Gathered()
        self._document = DocumentBody(run, held)

    def before(self, message: Message) -> Iterable[Message]:
        body = self._gathered.add(message)
        if body is None:
            self._gathered.refuse_too_long()
            return ()
        completeness, events = _judged(body, self._exchange)
        error = next((event for event in events if event.answer is not None and event.answer.error is not None), None)
        if error is not None:
            self._exchange.responded(502)
            self._document.held = as_document({**self._start, "status": 502})
            return self._document.before({"type": message["type"], "body": error.data or b""})
        if not completeness.begun:
            return document_messages(self._start, body)
        if not completeness.complete:
            raise broken_off()
        document = self._exchange.dialect.document_of(events)
        if document is None:
            return document_messages(self._start, body)
        self._document.held = as_document(self._start)
        return self._document.before({"type": message["type"], "body": document})

    def after(self, message: Message) -> None:
        pass

    def cut(self) -> bytes:
        return b""


def _judged(body: bytes, exchange: Exchange) -> tuple[Completeness, list[Event]]:
    splitter, completeness = exchange.dialect.splitter(len(body)), Completeness(exchange.choices)
    events = splitter.feed(body)
    if (rest := splitter.finish()) is not None:
        events.append(rest)
    for event in events:
        completeness.see(event)
    return completeness, events


def as_event_stream(exchange: Exchange, start: Message) -> Message:
    """The start of a stream of events, noted on the Exchange: an error that comes later must be an event."""
    typed = _typed(start, b"text/event-stream; charset=utf-8")
    exchange.response_headers = typed["headers"]
    return typed


def as_document(start: Message) -> Message:
    """The start of a plain answer."""
    return _typed(start, b"application/json")


def _typed(start: Message, content_type: bytes) -> Message:
    headers = [h for h in start["headers"] if h[0] not in (b"content-type", b"content-length")]
    return {**start, "headers": [*headers, (b"content-type", content_type)]}
