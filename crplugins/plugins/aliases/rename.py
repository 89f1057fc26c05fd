"""Renaming: writes the requested model's name into answers; every other byte stays.

`Renaming` replaces the `model` of chunks and documents; `NameScrubber` replaces names in the texts of errors.
"""

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, no_completion
from crplugins.core.lenient_json import NOT_JSON, decode_with_halves, encoded
from crplugins.core.sse import FRAME_BYTES, UNREAD, Event
from crplugins.core.wire import AnswerFacts

_KEY = b'"model"'
_ESCAPED_LETTER = b"\\u006"  # a key could contain the letters of `model` as escapes; its quotes inside a text are `\\"`
_NO_HEAD = b"\0"  # begins no JSON
_LONGEST_HEAD = 1024
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_LEADING = re.compile(  # members that hold no others, then the model
    rb"[ \t\n\r]*\{[ \t\n\r]*"
    rb"(?:TEXT[ \t\n\r]*:[ \t\n\r]*(?:TEXT|[^ \t\n\r\"{}\[\],]++)[ \t\n\r]*,[ \t\n\r]*)*?"
    rb'"model"[ \t\n\r]*:[ \t\n\r]*(TEXT)'.replace(b"TEXT", _TEXT),
    re.DOTALL,
)


class Renaming:
    """The names of one request, and how the chunks of its answer begin.

    The chunks of most streams are equal up to the end of the model's name. Every chunk that begins like an earlier one
    has the same top-level `model`, so that only the first has to be parsed.

    Args:
        requested: the name in the client's request.
        hidden: the names that it resolves to. Names that the answer itself gives as its model are added.
        within: the member of an event whose `model` is renamed too; see `Dialect.model_within`.
    """

    __slots__ = ("_head", "_hidden", "_new_head", "_seen", "_value", "_within", "requested")

    def __init__(self, requested: str, hidden: Iterable[str], within: str = "") -> None:
        self.requested = requested
        self._within = within
        self._hidden = {*hidden} - {requested, ""}
        self._value = msgspec.json.encode(requested)
        self._head = _NO_HEAD
        self._new_head = b""
        self._seen = b""

    def hide(self, *names: str | None) -> None:
        self._hidden.update([name for name in names if name and name != self.requested])

    @property
    def hidden(self) -> set[str]:
        """The names that no error may contain."""
        hidden = {*self._hidden}
        if self._seen:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                hidden.add(msgspec.json.decode(self._seen, type=str))
                hidden -= {self.requested, ""}
        return hidden

    def event(self, event: Event) -> Event:
        """The event with the top-level `model` renamed; the same object if there is none."""
        data = event.data
        if data is None:
            return event
        if self._within and not event.document:
            return self._inner(event, data)
        start = len(self._head)
        if data.startswith(self._head) and not _may_name_model(data, start):
            if self._new_head is self._head:
                return event
            renamed = self._new_head + data[start:]  # nearly every chunk
        else:
            renamed = self.document(data)
            if renamed is data:
                return event
        answer = event.answer
        return reframed(event, renamed, answer and msgspec.structs.replace(answer, model=self.requested))

    def _inner(self, event: Event, data: bytes) -> Event:
        """The event with the `model` of the member renamed that it stands in; only the first and the last have one."""
        if not _may_name_model(data):
            return event
        body = Body.of_answer(data)
        inner = body.bytes_of(self._within)
        renamed = inner if inner is None else self.document(inner)
        if renamed is None or renamed == inner:
            return event
        body.set(self._within, msgspec.Raw(renamed))
        return reframed(event, body.raw, event.answer and msgspec.structs.replace(event.answer, model=self.requested))

    def errors(self, event: Event, *, whole: bool) -> Event:
        """An error with the hidden names replaced: in the whole document, or where an event says what went wrong.

        Its `type`, `param` and `code` are words of the protocol, which a model may be called like.
        """
        data = event.data or b""
        keys = None if whole else ("error", self._within)
        try:
            renamed = _scrubbed(data, NameScrubber(self.hidden, self.requested), keys)
        except _TooLong:
            return reframed(event, no_completion().body())
        return event if renamed == data else reframed(event, renamed)

    def document(self, data: bytes) -> bytes:
        """`data` with the value of its top-level `model` replaced; the same object if nothing is to be replaced.

        A value that is no string stays. Invalid JSON, such as a truncated chunk, is renamed if the place is clear.
        """
        if not _may_name_model(data):  # as the end mark
            return data
        value = _model_of(data)
        if value is not None:
            if value[:1] != b'"':
                return data
            if (start := _only_place_of(value, data)) is not None:  # as nearly always
                end = start + len(value)
                return self._remember_head(data, b"".join((data[:start], self._value, data[end:])), start, end)
        if data.startswith(self._head):
            renamed = data if self._new_head is self._head else self._new_head + data[len(self._head) :]
            if self._is_right(renamed):
                return renamed
        elif (leading := _LEADING.match(data)) is not None:
            start, end = leading.span(1)
            renamed = b"".join((data[:start], self._value, data[end:]))
            if self._is_right(renamed):
                return self._remember_head(data, renamed, start, end)
        return data if value is None else self._rename_by_parsing(data, value)

    def _is_right(self, renamed: bytes) -> bool:
        """Whether no second `model` follows: of equal keys, parsers use the last."""
        model = _model_of(renamed)
        return model is None or model == self._value

    def _remember_head(self, data: bytes, renamed: bytes, start: int, end: int) -> bytes:
        self._see(data[start:end])
        is_right = renamed == data
        if end <= _LONGEST_HEAD:
            self._head = data[:end]
            self._new_head = self._head if is_right else data[:start] + self._value
        return data if is_right else renamed

    def _rename_by_parsing(self, data: bytes, value: bytes) -> bytes:
        """Of nested, repeated or escaped keys a `Body` knows which one counts."""
        self._see(value)
        body = Body.of_answer(data)
        body.set("model", self.requested)
        return body.raw

    def _see(self, value: bytes) -> None:
        if value not in (self._value, b'""'):
            self._seen = value


def _may_name_model(data: bytes, start: int = 0) -> bool:
    """Whether a key after `start` is, or might be, called `model`."""
    return data.find(_KEY, start) >= 0 or data.find(_ESCAPED_LETTER, start) >= 0


def _model_of(data: bytes) -> bytes | None:
    """The top-level `model` as JSON, empty without one; None if `data` is no JSON object to any client."""
    try:
        return bytes(_named.decode(data).model)
    except NOT_JSON:
        pass
    try:
        return bytes(Body.of_answer(data).fields.get("model", b""))
    except GatewayError:
        return None


def _only_place_of(value: bytes, data: bytes) -> int | None:
    """Where the top-level `model` with this value stands; None where a key inside is, or might be, called so too."""
    key = data.find(_KEY)
    start = data.find(b'"', key + len(_KEY))
    is_only = key >= 0 and data.find(_KEY, start) < 0 and data.find(_ESCAPED_LETTER) < 0
    return start if is_only and data.startswith(value, start) else None


class _Named(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw(b"")


_named = msgspec.json.Decoder(_Named)


def reframed(event: Event, data: bytes, answer: AnswerFacts | None = UNREAD) -> Event:
    """The event with other data, whose facts are `answer`; its framing and comments stay.

    Data in several lines, which no provider sends, gets new framing.
    """
    if event.document:
        return event.with_data(data, answer)
    old = event.data or b""
    if len(event.raw) == len(old) + FRAME_BYTES and event.raw.startswith(b"data: "):
        return Event(b"data: " + data + event.raw[-2:], data, event.name, False, answer, event.text)
    start = event.raw.find(old)
    if start < 0:
        return event.with_data(data, answer)
    return Event(event.raw[:start] + data + event.raw[start + len(old) :], data, event.name, False, answer)


_WORDS: Final = frozenset({"type", "param", "code"})
_LONGEST_ERROR: Final = 64 * 1024
_MAX_DEPTH: Final = 4


class _TooLong(Exception):
    """An error of more than `_LONGEST_ERROR` bytes, each text of which would be looked at."""


def _scrubbed(data: bytes, scrubber: "NameScrubber", keys: Collection[str] | None, depth: int = 0) -> bytes:
    """The document with every text scrubbed but its words; with `keys` an event, which has its error under them.

    Responses has an error at the top of an event of type `error`, or in the response that has failed. The rest of an
    event is the answer. Raises `_TooLong`.
    """
    too_long = len(data) > _LONGEST_ERROR
    if keys is None and too_long:
        raise _TooLong
    try:
        body = Body.of_answer(data)
    except GatewayError:  # a text, a list, or JSON to lenient parsers alone
        if too_long:
            raise _TooLong from None
        return scrubber.scrub(data)
    if keys is not None and body.get("type", str) == "error":
        return _scrubbed(data, scrubber, None, depth)
    for key in list(body) if keys is None else [key for key in keys if key in body]:
        value = body.bytes_of(key) or b""
        if key == "error" and depth < _MAX_DEPTH:
            scrubbed = _scrubbed(value, scrubber, None, depth + 1)
        elif keys is not None:
            scrubbed = _scrubbed(value, scrubber, {"error"}, depth + 1)
        else:
            scrubbed = value if key in _WORDS else scrubber.scrub(value)
        if scrubbed != value:
            body.set(key, msgspec.Raw(scrubbed))
    return body.raw


# The closing quote is optional, because the search would begin anew at each quote of a text without one.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_AFTER: Final = r"(?<![\w:.-])"
_NOT_BEFORE: Final = r"(?![\w/-]|[.:]\w)"
_QUOTES: Final = "`'\"\u2018\u2019\u201c\u201d"

_NAMED: Final = f"(?:(?<=[{_QUOTES}/])|(?<=[Mm]odel )|(?<=[Mm]odel: )|(?<=[Mm]odel=)|\\A)"


class NameScrubber:
    """Replaces each of `names` by `replacement`.

    `gpt-4` is not a name in `gpt-4-turbo`, `gpt-4.1` or `ft:gpt-4:acme`; it is one at the end of a sentence and after a
    provider (`openai/gpt-4`). A name that is like a word (`large`) counts only in quotes or after `model`, because a
    request may also be too large.
    """

    __slots__ = ("_pattern", "_replacement")

    def __init__(self, names: Iterable[str], replacement: str) -> None:
        others = [_whole(name) for name in sorted(names, key=len, reverse=True) if name != replacement]
        own = f"{_NOT_AFTER}{re.escape(replacement)}{_NOT_BEFORE}"  # first: it may hold one of the others
        self._pattern = re.compile("|".join([own, *others])) if others else None
        self._replacement = replacement

    def scrub(self, document: bytes) -> bytes:
        """The JSON with each of its strings scrubbed; strings without a name keep their bytes."""
        if self._pattern is None:
            return document
        return _STRING.sub(self._scrub_string, document)

    def text(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(lambda _: self._replacement, text)

    def _scrub_string(self, match: re.Match[bytes]) -> bytes:
        try:
            text = decode_with_halves(match[0])
        except NOT_JSON:
            return match[0]
        scrubbed = self.text(text)
        return match[0] if scrubbed == text else encoded(scrubbed)


def _whole(name: str) -> str:
    return f"{_NAMED if name.isalpha() else _NOT_AFTER}{re.escape(name)}{_NOT_BEFORE}"
