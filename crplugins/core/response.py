"""Response bodies on their way out: ASGI messages shown to the plugins as events and passed on to the client.

Observers only: every message goes out as the identical object before it is looked at. With a rewriter: only whole
events go out, and a message none of whose events changed is still the identical object.
"""

from collections.abc import Iterable
from typing import Protocol

from starlette.types import Message, Send

from crplugins.core.errors import internal_error
from crplugins.core.exchange import Exchange
from crplugins.core.pipeline import Pipeline
from crplugins.core.sse import Event, EventTooLarge, Splitter

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""A plain answer past this passes unseen by observers and is refused where a plugin must rewrite it."""


class ResponseBody(Protocol):
    async def message(self, message: Message, send: Send) -> None:
        """Pass one `http.response.body` on. Raises GatewayError when a plugin that decides has failed."""


class Passthrough:
    """A body nobody reads."""

    async def message(self, message: Message, send: Send) -> None:
        await send(message)


class EventStream:
    """A stream of server-sent events on its way through the plugins."""

    def __init__(self, pipeline: Pipeline, exchange: Exchange, entered: int) -> None:
        self._pipeline = pipeline
        self._exchange = exchange
        self._entered = entered
        self._splitter = Splitter()
        self._ended = False
        self._blind = False

    async def message(self, message: Message, send: Send) -> None:
        if self._pipeline.rewrites_events:
            await self._rewrite(message, send)
            return
        try:
            await send(message)
        finally:  # what the upstream sent is counted even if the client's socket has just broken
            self._observe(message)

    def _observe(self, message: Message) -> None:
        try:
            for event in self._split(message):
                self._pass_up(event)
        except EventTooLarge:
            self._blind = True

    async def _rewrite(self, message: Message, send: Send) -> None:
        more = message.get("more_body", False)
        try:
            events = self._split(message)
            passed = [out for event in events for out in self._pass_up(event)]
            if not more and not self._ended:
                passed += self._end()
        except EventTooLarge:
            raise internal_error() from None
        body = b"".join([event.raw for event in passed])
        if body == message.get("body", b""):
            await send(message)
        elif body or not more:
            await send({"type": "http.response.body", "body": body, "more_body": more})

    def _split(self, message: Message) -> list[Event]:
        if self._blind:
            return []
        events = self._splitter.feed(message.get("body", b""))
        if not message.get("more_body", False) and (rest := self._splitter.finish()) is not None:
            events.append(rest)
        return events

    def _pass_up(self, event: Event) -> Iterable[Event]:
        note_facts(self._exchange, event)
        added = self._end() if event.is_done and not self._ended else []
        outward = self._pipeline.event(self._exchange, event, self._entered)
        return added if outward is None else [*added, outward]

    def _end(self) -> list[Event]:
        self._ended = True
        return self._pipeline.end(self._exchange, self._entered)


class Document:
    """A plain JSON answer on its way through the plugins."""

    def __init__(self, pipeline: Pipeline, exchange: Exchange, entered: int, start: Message | None) -> None:
        self._pipeline = pipeline
        self._exchange = exchange
        self._entered = entered
        self._start = start  # held back while a plugin may change the length
        self._parts: list[bytes] = []
        self._size = 0

    async def message(self, message: Message, send: Send) -> None:
        if self._start is None:
            await send(message)
        body = message.get("body", b"")
        self._size += len(body)
        if self._size <= MAX_DOCUMENT_BYTES:
            self._parts.append(body)
        elif self._start is not None:
            raise internal_error()
        if not message.get("more_body", False) and self._size <= MAX_DOCUMENT_BYTES:
            await self._finish(send)

    async def _finish(self, send: Send) -> None:
        event = Event.json_document(b"".join(self._parts))
        note_facts(self._exchange, event)
        outward = self._pipeline.event(self._exchange, event, self._entered)
        if self._start is None:
            return
        body = b"" if outward is None else outward.raw
        headers = [h for h in self._start["headers"] if h[0] != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({**self._start, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def note_facts(exchange: Exchange, event: Event) -> None:
    """Keep what the answer says of itself on the Exchange, once for all plugins."""
    answer = event.answer
    if answer is None:
        return
    if answer.choices:
        exchange.timings.token(exchange.clock())
        for choice in answer.choices:
            exchange.finish_reason = choice.finish_reason or exchange.finish_reason
    if answer.usage is not None:
        exchange.usage, exchange.usage_source = answer.usage, "provider"
    if answer.error is not None:
        exchange.failed_in_stream = not event.document
