"""About how many tokens the prompt of a request has."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects.dialect import Dialect
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.form_body import FormBody
from crplugins.core.lenient_json import NOT_JSON, decode_leniently
from crplugins.core.media import Size, audio_seconds, image_size, picture_size
from crplugins.core.said import UNITS, weight_of_json

if TYPE_CHECKING:
    from crplugins.metering.attachments import Attachment

TOKENS_PER_REQUEST: Final = 4
"""What surrounds the messages. That around each message is about as long as the JSON around it."""

MOST_PARTS: Final = 1000
"""Parts of all messages that are looked at; no provider takes so many. What is after them counts as text."""


class Prompt(msgspec.Struct, frozen=True):
    """`units` is the weight of the text, JSON and all."""

    units: int
    attachments: "tuple[Attachment, ...]" = ()

    def tokens(self, model: str) -> int:
        tokens = -(-self.units // UNITS) + TOKENS_PER_REQUEST
        return tokens + sum([part.tokens(model) for part in self.attachments]) if self.attachments else tokens

    def tokens_of(self, kind: Literal["image", "audio"], model: str) -> int:
        """Those of its pictures, or of its recordings."""
        return sum([part.tokens(model) for part in self.attachments if part.kind == kind])


class _Read(msgspec.Struct, frozen=True):
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
    dialect = exchange.dialect
    members = tuple(map(body.fields.get, dialect.prompt))
    if not any(members) and not dialect.pictures:
        return None
    read = _READ.get(exchange)
    if read is None or members != read.members:
        if dialect.pictures:
            read = _Read(members, _weigh_pictures(body, dialect))
        else:
            messages, *others = map(bytes, filter(None, members))
            read = _Read(members, _weigh(messages, others))
        _READ.set(exchange, read)
    return read.prompt


def assume_prompt(exchange: Exchange, tokens: int) -> None:
    """Let the messages of a request weigh so many tokens, where they are not known any more and this alone is."""
    assert exchange.body is not None
    members = tuple(map(exchange.body.fields.get, exchange.dialect.prompt))
    _READ.set(exchange, _Read(members, Prompt(max(0, tokens - TOKENS_PER_REQUEST) * UNITS)))


_NUMERIC: Final = b"0123456789,[] \t\r\n"


def _weigh(messages: bytes, others: Iterable[bytes]) -> Prompt:
    are_numbers = messages[:1] == b"[" and messages[1:2] != b"{" and not messages[:64].translate(None, _NUMERIC)
    if are_numbers and not messages.translate(None, _NUMERIC):
        units = (messages.count(b",") + 1) * UNITS  # numbers of tokens, and not their digits
    else:
        units = weight_of_json(messages)
    units += sum(map(weight_of_json, others))
    if not _MEDIA.search(messages):
        return Prompt(units)
    attachments: list[Attachment] = []
    for part in _parts(messages):
        if (attachment := _attachment(part)) is not None:
            attachments.append(attachment)
            units -= weight_of_json(bytes(part))
    return Prompt(units, tuple(attachments))


def _weigh_pictures(body: Body, dialect: Dialect) -> Prompt:
    """Of a request whose pictures are the files of a form, or stand in members that hold nothing else."""
    from crplugins.metering.attachments import Attachment  # with the first request that may have any

    given = [(name, bytes(body.fields[name])) for name in dialect.prompt if name in body.fields]
    units = sum([weight_of_json(raw) for name, raw in given if name not in dialect.pictures])
    sizes = body.measured(picture_size) if isinstance(body, FormBody) else []
    for raw in [raw for name, raw in given if name in dialect.pictures]:
        items = _listed(raw) if _begins(raw) == b"[" else [msgspec.Raw(raw)]
        room = max(MOST_PARTS - len(sizes), 0)
        sizes = [*sizes, *[_size_of(item) for item in items[:room] if bytes(item) != b"null"]]
        units += sum([weight_of_json(bytes(item)) for item in items[room:]])
    faithful = body.get("input_fidelity", str) == "high"
    return Prompt(units, tuple([Attachment("image", size, faithful=faithful) for size in sizes]))


def _size_of(picture: msgspec.Raw) -> Size | None:
    """Of a picture in base64. One at an address, or that its provider keeps, has none."""
    try:
        told = decode_leniently(bytes(picture))
    except NOT_JSON:
        return None
    if isinstance(told, dict):
        told = _text(told.get("image_url") or told.get("url"), "url")
    return image_size(told) if isinstance(told, str) else None


_LONGEST_ADDRESS: Final = 2048

_NOTHING: Final = msgspec.Raw(b"")


class _Item(msgspec.Struct):
    """A message, or another item of a conversation: the result of a tool may have parts too."""

    content: msgspec.Raw = _NOTHING
    output: msgspec.Raw = _NOTHING


class _Part(msgspec.Struct):
    """A part of a message or a block, in OpenAI's forms, in Anthropic's, or in those that servers and gateways add."""

    type: Any = None
    image_url: Any = None
    image: Any = None  # of Jina's embeddings and rerankers
    text: Any = None
    input_audio: Any = None
    audio_url: Any = None
    video_url: Any = None
    file: Any = None
    detail: Any = None  # these in Responses
    file_data: Any = None
    file_url: Any = None
    file_id: Any = None
    result: Any = None  # of an image_generation_call
    source: Any = None  # Anthropic's
    content: msgspec.Raw = _NOTHING  # of its tool_result


_MEDIA: Final = re.compile(
    rb'"(?:image_url|image|input_audio|audio_url|video_url|file|file_data|file_url|file_id|source|image_generation_call)"'
)

_item: Final = msgspec.json.Decoder(_Item)
_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_part: Final = msgspec.json.Decoder(_Part)


def _parts(messages: bytes) -> Iterator[msgspec.Raw]:
    """Each part of a conversation, up to `MOST_PARTS`. What is no JSON, or no list, has none."""
    return islice(_every_part(messages), MOST_PARTS)


def _every_part(messages: bytes) -> Iterator[msgspec.Raw]:
    alone = [msgspec.Raw(messages)] if _begins(messages) == b"{" else []  # as vLLM's documents are
    for raw in alone or _listed(messages):
        if _begins(raw) != b"{":
            continue
        try:
            item = _item.decode(raw)
        except NOT_JSON:
            continue
        if not _begins(item.content) and not _begins(item.output):
            yield raw  # moderations have parts alone, and a picture that was made is an item
        for held in (item.content, item.output):
            if _begins(held) == b"{":
                yield held
            for part in _listed(held):
                yield part
                if b'"content"' in bytes(part):
                    yield from _inner(part)


def _inner(part: msgspec.Raw) -> Iterator[msgspec.Raw]:
    """The parts of a block that has some: what a tool has given back."""
    try:
        block = _part.decode(part)
    except NOT_JSON:
        return
    yield from _listed(block.content)


def _listed(raw: bytes | msgspec.Raw) -> list[msgspec.Raw]:
    if _begins(raw) != b"[":
        return []
    try:
        return _list.decode(raw)
    except NOT_JSON:
        return []


def _begins(raw: bytes | msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _attachment(raw: msgspec.Raw) -> "Attachment | None":
    """What a part attaches; None for text."""
    from crplugins.metering.attachments import Attachment  # with the first request that may have any

    try:
        part = _part.decode(raw)
    except NOT_JSON:
        return None
    if part.image_url is not None:
        detail = part.image_url.get("detail") if isinstance(part.image_url, dict) else part.detail
        return Attachment("image", image_size(_text(part.image_url, "url")), low=detail == "low")
    if isinstance(part.image, str) and part.text is None:
        size = image_size(part.image)
        is_picture = size is not None or (part.image.startswith("http") and len(part.image) <= _LONGEST_ADDRESS)
        return Attachment("image", size) if is_picture else None
    if part.input_audio is not None:
        return Attachment("audio", seconds=audio_seconds(_text(part.input_audio, "data")))
    if part.audio_url is not None:
        return Attachment("audio", seconds=audio_seconds(_text(part.audio_url, "url")))
    if part.source is not None and part.type == "image":
        return Attachment("image", image_size(_text(part.source, "data")))
    if part.type == "image_generation_call":
        return Attachment("image", image_size(_text(part.result, "data")))
    if isinstance(part.source, dict) and part.source.get("type") in ("text", "content"):
        return None  # a document that is written out
    media = part.video_url, part.file, part.file_data, part.file_url, part.file_id, part.source
    return None if all(each is None for each in media) else Attachment("file")


def _text(value: Any, name: str) -> str:
    """A text, or that of an object's field."""
    inner = value.get(name) if isinstance(value, dict) else value
    return inner if isinstance(inner, str) else ""
