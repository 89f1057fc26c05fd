"""About how many tokens the prompt of a request has."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from crplugins.core.exchange import Exchange, Slot
from crplugins.core.media import audio_seconds, image_size
from crplugins.core.said import UNITS, weight_of_json
from crplugins.metering.attachments import Attachment

TOKENS_PER_REQUEST: Final = 4
"""What surrounds the messages. That around each message is about as long as the JSON around it."""

MOST_PARTS: Final = 1000
"""Parts of all messages that are looked at; no provider takes so many. What is behind them counts as text."""


class Prompt(NamedTuple):
    """`units` is the weight of the text, JSON and all."""

    units: int
    attachments: tuple[Attachment, ...] = ()

    def tokens(self, model: str) -> int:
        tokens = -(-self.units // UNITS) + TOKENS_PER_REQUEST
        return tokens + sum([part.tokens(model) for part in self.attachments]) if self.attachments else tokens

    def audio_tokens(self, model: str) -> int:
        return sum(part.tokens(model) for part in self.attachments if part.kind == "audio")


class _Read(NamedTuple):
    """`members` are those of the request that have been weighed."""

    members: tuple[msgspec.Raw | None, ...]
    prompt: Prompt


_READ: Final[Slot[_Read]] = Slot("metering.prompt")


def prompt_of(exchange: Exchange) -> Prompt | None:
    """What the input of a request weighs, its messages and tools; None if its body was not read or has none of them.

    Read once for all that ask, as long as no plugin writes other input.
    """
    body = exchange.body
    if body is None:
        return None
    fields = body.fields
    members = tuple([fields.get(name) for name in exchange.dialect.prompt])
    if not any(members):
        return None
    read = _READ.get(exchange)
    if read is None or members != read.members:
        first, *others = [b"" if member is None else bytes(member) for member in members]
        read = _Read(members, _weigh(first, others))
        _READ.set(exchange, read)
    return read.prompt


def assume_prompt(exchange: Exchange, tokens: int) -> None:
    """Let the messages of a request weigh so many tokens, where they are not known any more and this alone is."""
    assert exchange.body is not None
    fields = exchange.body.fields
    prompt = Prompt(max(0, tokens - TOKENS_PER_REQUEST) * UNITS)
    _READ.set(exchange, _Read(tuple([fields.get(name) for name in exchange.dialect.prompt]), prompt))


def _weigh(messages: bytes, others: Iterable[bytes]) -> Prompt:
    units = weight_of_json(messages) + sum([weight_of_json(other) for other in others if other])
    if not _MEDIA.search(messages):
        return Prompt(units)
    attachments: list[Attachment] = []
    for part in _parts(messages):
        if (attachment := _attachment(part)) is not None:
            attachments.append(attachment)
            units -= weight_of_json(bytes(part))
    return Prompt(units, tuple(attachments))


class _Message(msgspec.Struct):
    """A message, or another item of a response's input: the output of a tool, a picture that was made before."""

    content: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")


class _Part(msgspec.Struct):
    """A part of a message, in OpenAI's form or in those that servers and gateways add to it."""

    type: Any = None
    image_url: Any = None
    input_audio: Any = None
    audio_url: Any = None
    video_url: Any = None
    file: Any = None
    source: Any = None  # Anthropic's
    detail: Any = None  # these in Responses
    file_data: Any = None
    file_url: Any = None
    file_id: Any = None


_MEDIA: Final = re.compile(
    rb'"(?:image_url|input_audio|audio_url|video_url|file|source|file_data|file_url|file_id|image_generation_call)"'
)

_messages: Final = msgspec.json.Decoder(list[_Message])
_part_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_part: Final = msgspec.json.Decoder(_Part)


def _parts(messages: bytes) -> Iterator[msgspec.Raw]:
    """Each part of a message that has parts. What is no JSON, or no list of messages, has none."""
    left = MOST_PARTS
    try:
        for message in _messages.decode(messages):
            for told in (message.content, message.output):
                first = bytes(memoryview(told)[:1])
                parts = _part_list.decode(told) if first == b"[" else [told] if first == b"{" else ()
                for part in parts[:left]:
                    left -= 1
                    yield part
            if left and bytes(memoryview(message.result)[:1]) == b'"':
                left -= 1
                yield msgspec.Raw(b'{"image_url":' + bytes(message.result) + b"}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return


def _attachment(raw: msgspec.Raw) -> Attachment | None:
    """What a part attaches; None for text."""
    try:
        part = _part.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if part.image_url is not None:
        detail = part.image_url.get("detail") if isinstance(part.image_url, dict) else part.detail
        return Attachment("image", image_size(_text(part.image_url, "url")), low=detail == "low")
    if part.input_audio is not None:
        return Attachment("audio", seconds=audio_seconds(_text(part.input_audio, "data")))
    if part.audio_url is not None:
        return Attachment("audio", seconds=audio_seconds(_text(part.audio_url, "url")))
    if part.source is not None and part.type == "image":
        return Attachment("image", image_size(_text(part.source, "data")))
    media = (part.video_url, part.file, part.source, part.file_data, part.file_url, part.file_id)
    return Attachment("file") if any(each is not None for each in media) else None


def _text(value: Any, name: str) -> str:
    """A text, or that of an object's field."""
    inner = value.get(name) if isinstance(value, dict) else value
    return inner if isinstance(inner, str) else ""
