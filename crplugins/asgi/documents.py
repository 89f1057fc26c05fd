"""Plain answers on their way out: one JSON document each, which the plugins see as one event."""

from collections.abc import Iterable

from starlette.types import Message

from crplugins.asgi.bodies import is_success
from crplugins.asgi.headers import with_body_headers
from crplugins.asgi.sending import BODY
from crplugins.core.answer_forms import readable_document
from crplugins.core.completeness import failure_in
from crplugins.core.dialects import CHAT
from crplugins.core.errors import internal_error
from crplugins.core.pipeline import Run
from crplugins.core.sse import MAX_DOCUMENT_BYTES, Event


class DocumentBody:
    """A plain JSON answer: one event, when it is whole. One that is too long passes unseen by observers and is refused
    where a plugin must rewrite it.

    `held` is the start of an answer whose length a plugin may change, None for observers.
    """

    ended = False

    def __init__(self, run: Run, held: Message | None) -> None:
        self._run = run
        self._exchange = run.exchange
        self.held = held
        self.rewrites = held is not None
        self._gathered: Gathered | None = None  # nothing of what a handler has read needs it

    def before(self, message: Message) -> Iterable[Message]:
        document = self._document(message)
        if document is None or self.held is None:
            if self._gathered is not None:
                self._gathered.refuse_too_long()
            return ()
        outward = self._pass_up(document)
        return document_messages(self.held, b"" if outward is None else outward.raw)

    def after(self, message: Message) -> None:
        if (document := self._document(message)) is not None:
            self._pass_up(document)

    def cut(self) -> bytes:
        return b""

    def _document(self, message: Message) -> Event | None:
        """The answer, once it is whole; None before that, and for one that is too long."""
        known = self._exchange.split
        if known is not None and known[0] is message.get("body"):
            return known[1][0]
        if self._gathered is None:
            self._gathered = Gathered()
        body = self._gathered.add(message)
        if body is None:
            return None
        document = self._exchange.dialect.document(body)
        return readable_document(document) if self._exchange.dialect is CHAT else document

    def _pass_up(self, event: Event) -> Event | None:
        self._run.hearing()(event)
        if self._exchange.reply is None and is_success(self._exchange):
            answer = event.answer
            failure = failure_in(None if answer is None else answer.choices)
            if failure is not None:
                self._exchange.failed(failure)
        return self._run.event(event)


class Gathered:
    """The body of a plain answer, as it comes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._too_long = False

    def add(self, message: Message) -> bytes | None:
        """The body, once it is whole; None before that, and for one that is too long."""
        body = message.get("body", b"")
        self._size += len(body)
        if self._size > MAX_DOCUMENT_BYTES:
            self._too_long = True
            self._parts.clear()
        if self._too_long:
            return None
        self._parts.append(body)
        return None if message.get("more_body", False) else b"".join(self._parts)

    def refuse_too_long(self) -> None:
        """Raise `GatewayError` 500 if the body is too long to be read: whoever must rewrite it cannot."""
        if self._too_long:
            raise internal_error()


def document_messages(start: Message, body: bytes) -> Iterable[Message]:
    """The two messages of a plain answer."""
    headers = with_body_headers(start["headers"], len(body))
    return ({**start, "headers": headers}, {"type": BODY, "body": body})
