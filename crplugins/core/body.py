"""Body: the JSON object of a request, read shallowly and edited by key.

Top-level values stay the bytes they came as, so a 30-digit seed, an escape or the spelling of a float survives, and a
200 KB conversation is not built just to read the model's name.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, Final, Self, TypeVar, overload

import msgspec

from crplugins.core.errors import no_completion, unparsable_body
from crplugins.core.lenient_json import NOT_JSON, decode_with_halves, encoded
from crplugins.core.request_json import MOST_PARAMETERS, check_names, check_types, check_unique, outline

T = TypeVar("T")

DEFAULT_MAX_BODY_BYTES: Final = 10 * 1024 * 1024

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_MEMBER = re.compile(rb'[ \t\n\r]*[{,][ \t\n\r]*("(?:[^"\\]++|\\.)*+")[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_END = re.compile(rb"[ \t\n\r]*\}")


class _Rewritten(dict[str, msgspec.Raw]):
    """The members of an answer that msgspec refuses and clients read (`lenient_json`): an emoji cut into two chunks.

    Each value is written anew, so none of them stands in the document as it is here.
    """

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Raises `GatewayError` 502."""
        try:
            members = decode_with_halves(raw)
        except NOT_JSON:
            raise no_completion() from None
        if not isinstance(members, dict):
            raise no_completion()
        return cls((_readable(name), msgspec.Raw(encoded(value))) for name, value in members.items())


def _readable(name: str) -> str:
    return name.encode(errors="replace").decode()


def _lenient(raw: msgspec.Raw, type: Any) -> Any:
    value = decode_with_halves(bytes(raw))
    return value if type is Any or isinstance(value, type) else None


class Body:
    """A request body.

    `raw` are the current bytes: the very object received until the first edit. Keys are read with `get` (decoded) or
    `bytes_of` (as sent); `set` and `remove` splice one key and leave every other byte of the document alone.

    Raises `GatewayError` 400 on first access if the bytes are not a JSON object, or hold more than is read.
    """

    __slots__ = ("_fields", "_unique", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._fields: dict[str, msgspec.Raw] | None = None
        self._unique = False  # it is known that no key stands twice

    @classmethod
    def of_answer(cls, raw: bytes) -> "Body":
        """A document or chunk of an answer, which may hold any number of values: the alternatives of each token, say.

        Raises `GatewayError` 502 for what is no JSON object to any client, or has more keys than an answer can have.
        """
        body = cls(raw)
        try:
            body._fields = _object.decode(raw)
        except NOT_JSON:
            body._fields = _Rewritten.of(raw)
        if len(body._fields) > MOST_PARAMETERS:
            raise no_completion()
        return body

    @classmethod
    def of_request(cls, raw: bytes, *, form: bool = False, tokens: Collection[str] = ()) -> "Body":
        """What a client has sent, which every party reads alike (`request_json`). In a `form` every value is a text.

        Under the names `tokens` there may be any number of token numbers.

        Raises `GatewayError` 400 for what is no JSON object, has a key twice or in disguise, what decides about the
        answer's form and length as another type, or more than is read.
        """
        body, short = cls(raw), outline(raw, tokens)
        body._fields = fields = _parse(raw)
        if not raw.isascii():
            _check_utf8(raw)
        check_names(fields.keys())
        check_unique(short)
        body._unique = True
        if not form:
            check_types(fields)
        return body

    @property
    def content_type(self) -> str:
        """The media type of `raw`."""
        return "application/json"

    @property
    def fields(self) -> dict[str, msgspec.Raw]:
        """Top-level keys in document order, values as undecoded JSON."""
        if self._fields is None:
            outline(self.raw)
            self._fields = _parse(self.raw)
        return self._fields

    def copy(self) -> "Body":
        """Another body with the same bytes, which shares the parse until it is edited."""
        copy = Body(self.raw)
        copy._fields, copy._unique = self._fields, self._unique
        return copy

    def __contains__(self, key: str) -> bool:
        return key in (self.fields if self._fields is None else self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def bytes_of(self, key: str) -> bytes | None:
        """The value's JSON exactly as sent, or None if the key is absent."""
        value = self.fields.get(key)
        return None if value is None else bytes(value)

    @overload
    def get(self, key: str) -> Any: ...
    @overload
    def get(self, key: str, type: type[T]) -> T | None: ...
    def get(self, key: str, type: Any = Any) -> Any:
        """The decoded value, or None if the key is absent or holds something that is not a `type`.

        Judging a wrong type is RequestGuard's work; everybody else may treat it as missing.
        """
        value = (self.fields if self._fields is None else self._fields).get(key)
        if value is None:
            return None
        try:
            return _string.decode(value) if type is str else msgspec.json.decode(value, type=type)
        except NOT_JSON:
            return _lenient(value, type) if isinstance(self._fields, _Rewritten) else None

    def set(self, key: str, value: object) -> None:
        """Write `value` (encoded as JSON) under `key`, in place if the key exists, else at the end."""
        try:
            raw = msgspec.json.encode(value)
        except UnicodeEncodeError:  # half an emoji of an answer
            raw = encoded(value)
        self._splice(key, raw)

    def remove(self, key: str) -> None:
        """Take `key` out; nothing happens if it is absent."""
        if key in self.fields:
            self._splice(key, None)

    def _splice(self, key: str, value: bytes | None) -> None:
        fields = self.fields if self._fields is None else self._fields
        fields = type(fields)(fields)  # a copy: another Body may share it
        if isinstance(fields, _Rewritten):
            self.raw = _rebuild(fields)
        if value is not None and key not in fields:
            self.raw = _append(self.raw, key, value, first=not fields)
            fields[key] = msgspec.Raw(value)
            self._fields = fields
            return
        enough = key if self._unique and value is not None else None
        members = _regular_members(self.raw, fields, enough) or _members(self.raw, fields)
        if members is None:  # a key stands twice: keep what parsers see, the last of each
            self.raw = _rebuild(fields)
            members = _members(self.raw, fields) or {}
        if value is None:
            self.raw = _cut(self.raw, list(members), members, key)
            del fields[key]
        else:
            self.raw = _placed(self.raw, members, key, value)
            fields[key] = msgspec.Raw(value)
        self._fields = fields  # parsing again would cost more than everything else a plugin does


def _parse(raw: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _object.decode(raw)
    except NOT_JSON:
        raise unparsable_body() from None


def _check_utf8(raw: bytes) -> None:
    """Also in values that nobody here decodes: a lenient reader may find the end of a text in them."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise unparsable_body() from None


_Member = tuple[int, int, int]
"""Offsets in the document: start of the key, start of the value, end of the value."""


def _members(raw: bytes, fields: dict[str, msgspec.Raw]) -> dict[str, _Member] | None:
    """Where each key stands, or None if a key stands twice.

    The values are known JSON, so a value that starts with the expected bytes and is followed by a comma or the closing
    brace is that value: no JSON value is a proper prefix of another up to such a delimiter.
    """
    members: dict[str, _Member] = {}
    position = 0
    while (match := _MEMBER.match(raw, position)) is not None:
        name = _string.decode(match[1])
        value = memoryview(fields[name])
        start = match.end()
        position = start + len(value)
        if name in members or not raw.startswith(value, start):
            return None
        members[name] = (match.start(1), start, position)
    return members if not members or _END.match(raw, position) is not None else None


def _regular_members(
    raw: bytes, fields: dict[str, msgspec.Raw], enough: str | None = None
) -> dict[str, _Member] | None:
    """The same for a document as most clients write one: without a blank, or with one after each colon and comma at
    the top. None for another.

    Each key stands there as it is, where the value before it ends, and after the last value is the end: so there is no
    key twice, and none with an escape. Where that is known already, the members up to the key `enough` are.
    """
    between = b'": ' if raw.startswith(b'": ', raw.find(b'"', 2)) else b'":'
    gap = len(between) - 1
    members: dict[str, _Member] = {}
    position, starts = 1, raw.startswith
    for name, value in fields.items():
        key, text = b'"%b%b' % (name.encode(), between), memoryview(value)
        start = position + len(key)
        if not (starts(key, position) and starts(text, start)):
            return None
        end = start + len(text)
        members[name] = (position, start, end)
        if name == enough:
            return members
        position = end + gap
    return members if members and raw[position - gap :] == b"}" else None


def _cut(raw: bytes, names: list[str], members: dict[str, _Member], key: str) -> bytes:
    """The document without `key` and one of its commas."""
    index = names.index(key)
    start, _, end = members[key]
    if index + 1 < len(names):
        end = members[names[index + 1]][0]
    elif index:
        start = members[names[index - 1]][2]
    return raw[:start] + raw[end:]


def _placed(raw: bytes, members: dict[str, _Member], key: str, value: bytes) -> bytes:
    _, start, end = members[key]
    view = memoryview(raw)
    return b"".join((view[:start], value, view[end:]))


def _append(raw: bytes, key: str, value: bytes, *, first: bool) -> bytes:
    brace = raw.rindex(b"}")
    comma = b"" if first else b","
    return b"".join((raw[:brace], comma, msgspec.json.encode(key), b":", value, raw[brace:]))


def _rebuild(fields: dict[str, msgspec.Raw]) -> bytes:
    return b"{" + b",".join(encoded(k) + b":" + bytes(v) for k, v in fields.items()) + b"}"
