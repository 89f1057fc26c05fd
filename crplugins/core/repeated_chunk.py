"""RepeatedChunk: a chunk of a stream that comes again with another text, and goes out as it did before.

Nearly every chunk is the one before it but for its text: the same id, the same model, the same null after it. To
decode each of them, and have every plugin find the same places in it, costs many times what it costs to pass it on. So
whoever has passed one remembers the bytes around its text, as they came and as they went out.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from crplugins.core.lenient_json import NOT_JSON
from crplugins.core.sse import MOST_EVENTS, Event
from crplugins.core.wire import plain_text, read_answer

_FIELD: Final = b"data: "
_BLANK_LINE: Final = b"\n\n"
_QUOTE: Final = ord('"')
_CONTENT: Final = (b'"content":"', b'"content": "')
_PADDING: Final = (b'"obfuscation":"', b'"obfuscation": "')
"""OpenAI's: letters beside the text, of another number in each chunk, so that its length on the wire tells nothing."""

_MOST_IN_VAIN: Final = 4
"""How often the chunks of a stream are learned from while none comes again. With several choices in turn none does."""

_text: Final = msgspec.json.Decoder(str)


class Template(NamedTuple):
    """The bytes around the text of a chunk: `head`, text, `tail`; or `head`, text, `middle`, padding, `tail`.

    Its quotes are a part of the text, and those of the padding are not. The blank line is left out.
    """

    head: bytes
    middle: bytes
    tail: bytes


_NO_CHUNK: Final = Template(b"\n", b"", b"\n")


def template_of(event: Event) -> Template | None:
    """The template of a chunk that is nothing but `event.text`; None where it is not clear at once.

    With any other text in its place the chunk is JSON with the same members. That it stands where it seems to is tried.
    """
    text, chunk = event.text, event.raw.removesuffix(_BLANK_LINE)
    if text is None or not chunk.startswith(_FIELD) or chunk.find(b"\n") >= 0 or chunk.find(b"\r") >= 0:
        return None
    start = _behind(chunk, _CONTENT, 0) - 1
    end = chunk.find(b'"', start + 1) + 1
    try:
        if start < 0 or plain_text(read_answer(chunk[len(_FIELD) : end - 1] + b"x" + chunk[end - 1 :])) != text + "x":
            return None
    except NOT_JSON:
        return None
    padding = _behind(chunk, _PADDING, end)
    if padding < 0:
        return Template(chunk[:start], b"", chunk[end:])
    return Template(chunk[:start], chunk[end:padding], chunk[chunk.find(b'"', padding) :])


def _behind(chunk: bytes, keys: tuple[bytes, ...], start: int) -> int:
    """Where the text begins that has one of these keys, after its quote; -1 without one."""
    for key in keys:
        if (at := chunk.find(key, start)) >= 0:
            return at + len(key)
    return -1


class RepeatedChunk:
    """The chunk of a stream that has passed last.

    Attributes:
        piece: the bytes that were read last; None if it has not come again.
        texts: what it says in them, once or several times.
        outward: these bytes as they go out.
    """

    __slots__ = (
        "_around", "_came", "_head", "_lessons", "_new_head", "_new_tail", "_padded", "_tail", "_went", "outward",
        "piece", "texts",
    )  # fmt: skip

    def __init__(self) -> None:
        self._learn(_NO_CHUNK, _NO_CHUNK)
        self._lessons = _MOST_IN_VAIN
        self.piece: bytes | None = None
        self.texts: Sequence[str] = ()
        self.outward = b""

    def has_passed(self, event: Event, outward: Event) -> bool:
        """Note that `event` has gone out as `outward`. Whether `read` knows it from now on when it comes again."""
        if event.text is None or outward.text is None:
            return False
        if self.piece is not None:
            self._lessons = _MOST_IN_VAIN
        known = self._predicts(event, outward)
        if not known and self._lessons:
            self._lessons -= 1
            came, went = template_of(event), template_of(outward)
            if came is not None and went is not None and bool(came.middle) == bool(went.middle):
                self._learn(came, went)
                known = self._predicts(event, outward)
        self.piece = None
        return known

    def read(self, piece: bytes) -> bool:
        """Whether `piece` is this chunk, once or several times, each time with another text and nothing besides."""
        said = piece.removeprefix(self._head).removesuffix(self._tail)
        if len(said) + self._around != len(piece):
            return False
        if self._padded:
            return self._read_each(piece)
        try:
            text = _text.decode(said)
        except NOT_JSON:
            return self._read_each(piece)
        if (not text or len(said) != len(text) + 2) and not _is_whole(said, text):  # one call less for nearly all
            return False
        self.piece, self.texts = piece, (text,)
        self.outward = self._new_head + said + self._new_tail
        return True

    def _read_each(self, piece: bytes) -> bool:
        """The same of several chunks, or with padding."""
        (head, middle, tail), (new_head, new_middle, new_tail) = self._came, self._went
        *chunks, rest = piece.split(_BLANK_LINE, MOST_EVENTS)
        texts: list[str] = []
        outward: list[bytes] = []
        for chunk in chunks:
            said = chunk.removeprefix(head).removesuffix(tail)
            is_same = len(said) + len(head) + len(tail) == len(chunk)
            padding = b""
            if middle:
                said, found, padding = said.partition(middle)
                is_same = is_same and found == middle and (not padding or padding.isalnum())
            try:
                text = _text.decode(said)
            except NOT_JSON:
                return False
            if not is_same or not _is_whole(said, text):
                return False
            texts.append(text)
            outward += (new_head, said, new_middle, padding, new_tail, _BLANK_LINE)
        if rest:  # a part of another one, or more of them than are read at once
            return False
        self.piece, self.texts, self.outward = piece, texts, b"".join(outward)
        return True

    def _predicts(self, event: Event, outward: Event) -> bool:
        return self.read(event.raw) and self.outward == outward.raw

    def _learn(self, came: Template, went: Template) -> None:
        self._came, self._went, self._padded = came, went, bool(came.middle)
        self._head, self._tail = came.head, came.tail + _BLANK_LINE
        self._new_head, self._new_tail = went.head, went.tail + _BLANK_LINE
        self._around = len(self._head) + len(self._tail)


def _is_whole(said: bytes, text: str) -> bool:
    """Whether `said` is the JSON of a text that says something, without blanks before or behind it."""
    return bool(text) and (len(said) == len(text) + 2 or said[0] == said[-1] == _QUOTE)
