"""Translated: a deployment that speaks chat completions, asked in another protocol."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Dialect
from crplugins.core.dialects.chat_usage import usage_object
from crplugins.core.errors import GatewayError, no_completion
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.lenient_json import decode_with_halves, encoded
from crplugins.core.sse import Event
from crplugins.core.usage import TokenUsage
from crplugins.handlers.handler import Handler, Unopened, document_reply, stream_reply
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.completions import CompletionsTranslation
from crplugins.handlers.translation.messages_answer import MessagesTranslation
from crplugins.handlers.translation.responses_answer import ResponsesTranslation
from crplugins.handlers.translation.shown_blocks import ShownBlocks, ShownMessage, ShownResponse
from crplugins.handlers.translation.translation import AnswerWriter, Fields, Translation

TRANSLATIONS: Final[Mapping[Dialect, Translation]] = MappingProxyType(
    {MESSAGES: MessagesTranslation(), RESPONSES: ResponsesTranslation(), COMPLETIONS: CompletionsTranslation()}
)
"""The protocols in which one that chats can be asked."""


def chat_of(dialect: Dialect, body: Body) -> Body | None:
    """A request in one of them as the chat completion that any model is asked for; None for what none can be."""
    try:
        return Body(encoded(TRANSLATIONS[dialect].request(_members(body), Target())))
    except GatewayError:
        return None


def shown_blocks(dialect: Dialect) -> ShownBlocks:
    """What keeps what is shown of an answer in Messages or Responses."""
    return ShownMessage() if dialect is MESSAGES else ShownResponse()


class GoingOn(msgspec.Struct, frozen=True):
    """How a deployment goes on with an answer that another one has begun.

    Attributes:
        request: puts the beginning of the answer into the request.
        joined: a chunk as it goes on; None for one that says nothing new.
        shown: what the client has seen; None in a protocol whose events do not depend on that.
    """

    request: Callable[[Body], Body]
    joined: Callable[[Event], Event | None]
    shown: ShownBlocks | None


class Translated(Unopened):
    """Asks a handler in chat completions, and gives its answer in the protocol of the request.

    The answer has come to its end where the handler lets it end: what is cut raises here, and is told as the end of a
    stream that has failed.
    """

    def __init__(self, handler: Handler, target: Target) -> None:
        self._handler = handler
        self._target = target

    async def answer(self, exchange: Exchange, body: Body, going_on: GoingOn | None = None) -> Reply:
        translation, asked = TRANSLATIONS[exchange.dialect], _members(body)
        chat = Body(encoded(translation.request(asked, self._target)))
        if going_on is not None:
            chat = going_on.request(chat)
        exchange.translated_into = CHAT
        try:
            reply = await self._handler.answer(exchange, chat)
        finally:
            exchange.translated_into = None
        writer = translation.writer(asked)
        if going_on is not None and going_on.shown is not None:
            writer.go_on(going_on.shown)
        if isinstance(reply.body, bytes):
            whole = CHAT.document(reply.body)
            document = exchange.dialect.document(writer.document(_chunk(whole, exchange)))
            exchange.split = document.raw, [document]
            return document_reply(document.raw)
        told = _told(reply.body, exchange, writer, None if going_on is None else going_on.joined)
        await anext(told)  # closing a generator that was never started runs nothing of it, and leaks the connection
        return stream_reply(told)


def _members(body: Body) -> Fields:
    """The request, decoded as leniently as its text is read elsewhere: half an emoji is no reason to lose a message."""
    return {name: decode_with_halves(bytes(value)) for name, value in body.fields.items()}


async def _told(
    frames: AsyncGenerator[bytes, None],
    exchange: Exchange,
    writer: AnswerWriter,
    joined: Callable[[Event], Event | None] | None,
) -> AsyncGenerator[bytes, None]:
    """The stream in the other protocol. Comments, which keep a connection alive, pass."""
    splitter = CHAT.splitter()
    async with aclosing(frames):
        yield b""
        async for piece in frames:
            known = exchange.split
            events = known[1] if known is not None and known[0] is piece else splitter.feed(piece)
            told: list[Event] = []
            counted: TokenUsage | None = None
            for event in events:
                new = event if joined is None else joined(event)
                if new is not None:
                    told += _translated(new, exchange, writer)
                counted = (event.answer and event.answer.counted) or counted
            if told:
                yield _joined(told, exchange)
            if counted is not None and not exchange.spent:  # told at the end, which a broken stream does not reach
                exchange.counted(counted, "provider")
    yield _joined(writer.end(), exchange)


def _translated(event: Event, exchange: Exchange, writer: AnswerWriter) -> list[Event]:
    if event.is_comment:
        return [event]
    if event.answer is None or not event.data:
        return []
    return writer.events(_chunk(event, exchange))


def _chunk(event: Event, exchange: Exchange) -> Fields:
    """A chunk, or a whole answer, with its usage as we count it, wherever the provider has it.

    What else that says of the bill is noted here: the other protocol has no words for it.
    """
    try:
        chunk = decode_with_halves(event.data or b"")
    except (ValueError, RecursionError):
        raise no_completion() from None
    if not isinstance(chunk, dict) or event.answer is None:
        raise no_completion()
    counted = event.answer.counted
    if counted is not None:
        exchange.note_provider(event.answer)
    return {**chunk, "usage": None if counted is None else usage_object(counted)}


def _joined(events: list[Event], exchange: Exchange) -> bytes:
    """The bytes of some events, which the next reader need not split again."""
    frames = events[0].raw if len(events) == 1 else b"".join([event.raw for event in events])
    exchange.split = frames, events
    return frames
