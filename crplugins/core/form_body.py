"""FormBody: a form (multipart/form-data, RFC 7578) as a Body: its fields are texts, its files are not looked at.

Parsers of forms differ in what they forgive, and a field that one of them reads otherwise would be another model than
the one that was judged. So one spelling is taken, the one that clients send, and anything else is refused.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, Header, invalid_type
from crplugins.core.request_json import MOST_PARAMETERS, check_names, check_types, duplicate_key, is_known

T = TypeVar("T")


@cache  # compiled with the first one that is asked about
def _type() -> re.Pattern[bytes]:
    return re.compile(
        rb"multipart/form-data(?:[ \t]*+;[ \t]*+charset=utf-?8)?"
        rb"[ \t]*+;[ \t]*+boundary=(\"?)([0-9A-Za-z'()+_,./:=?-]{1,70})\1(?:[ \t]*+;[ \t]*+charset=utf-?8)?[ \t]*+",
        re.IGNORECASE,
    )


@cache  # compiled with the first one that is asked about
def _disposition() -> re.Pattern[bytes]:
    """With quotes, as browsers write them, or with none around what needs none, as .NET does.

    In the name of a file a backslash stands before a quote (RFC 7578 and curl), or is itself a part of the name
    (browsers, which write a quote as `%22`). The last two kinds of `filename` are these two readings, and a name that
    both can read begins and ends for both in the same places.
    """
    return re.compile(
        rb'form-data[ \t]*+;[ \t]*+name=(?:"([^"\\\r\n]{1,256})"|([0-9A-Za-z._-]{1,256}))'
        rb"(?P<before>[ \t]*+;[ \t]*+filename\*=[^;\"\r\n]*+)?"
        rb"(?P<file>[ \t]*+;[ \t]*+filename="
        rb"(?:[0-9A-Za-z!#$%&'*+.^_`|~-]++|\"(?P<escaped>(?:[^\"\\\r\n]|\\[^\r\n])*+)\"|\"[^\"\r\n]*+\"))?"
        rb'(?P<named>[ \t]*+;[ \t]*+filename\*=[^;"\r\n]*+)?[ \t]*+',
        re.IGNORECASE,
    )


@cache  # compiled with the first one that is asked about
def _text() -> re.Pattern[bytes]:
    """Java's clients name another charset than UTF-8, in which ASCII reads the same."""
    return re.compile(
        rb"(?:text/plain|application/json)"
        rb"(?:[ \t]*+;[ \t]*+charset=\"?(?:utf-?8|(?P<narrow>us-ascii|iso-8859-1|windows-1252))\"?)?",
        re.IGNORECASE,
    )


_COUNTS: Final = frozenset({
    "n", "max_tokens", "partial_images", "output_compression", "frame_count", "frame_duration_ms",
})  # fmt: skip
"""Fields that are numbers."""

_CODINGS: Final = (b"binary", b"8bit", b"7bit")
_HEADERS: Final = (b"content-disposition", b"content-type", b"content-transfer-encoding", b"content-length")

_LONGEST_HEAD: Final = 4096
"""Bytes of the headers of one part."""

_LONGEST_TEXT: Final = 4 * 1024 * 1024
"""Bytes of a field that is no file. The longest is ten seconds of a speaker's voice in base64 (OpenAI's
`known_speaker_references[]`), which may come uncompressed."""


_ENDS: Final = (b"", b"\r\n", b"\r\n\r\n")
"""What may follow the last boundary. A blank line is no text, and one may stand before the first boundary too."""


class _Part(NamedTuple):
    """`start` is where its delimiter begins; between `content` and `end` stands what it holds, ASCII if it is
    `narrow`."""

    name: str
    is_file: bool
    narrow: bool
    start: int
    content: int
    end: int


class FormBody(Body):
    """A form. `get("model", str)` reads a field, `set` writes one, and `raw` are the bytes of the form as it then is.

    Every value is a text, but `stream`, which is true or false, and counts, which are numbers. A field whose name ends
    with `[]` is a list of texts. Files are no fields.
    """

    __slots__ = ("_boundary", "_measured", "_parts", "_type")

    def __init__(self, raw: bytes, content_type: bytes) -> None:
        super().__init__(raw)
        self._type = content_type
        self._boundary = b"--" + _boundary_of(content_type)
        self._measured: list[Any] | None = None
        self._read(raw)

    @classmethod
    def of_form(cls, raw: bytes, headers: Iterable[Header]) -> "FormBody":
        """What a client has sent.

        Raises `GatewayError` 415 for what is no form, 400 for one that readers take differently, for a field that
        stands twice or in disguise, and for what decides about the answer's form as another type.
        """
        types = [value for name, value in headers if name.lower() == b"content-type"]
        if len(types) != 1:
            raise _no_form()
        body = cls(raw, types[0])
        check_types(body.fields)
        return body

    @property
    def content_type(self) -> str:
        return self._type.decode("latin-1")

    @property
    def files(self) -> list[str]:
        """The names of its files."""
        return [part.name for part in self._parts if part.is_file]

    def measured(self, measure: Callable[[bytes], T]) -> list[T]:
        """What a measure says of what each file holds.

        It is asked once, as it may look at megabytes and nobody writes files: each protocol has one measure.
        """
        if self._measured is None:
            files = [part for part in self._parts if part.is_file]
            self._measured = [measure(self.raw[part.content : part.end]) for part in files]
        return self._measured

    def copy(self) -> "FormBody":
        copy = FormBody.__new__(FormBody)
        copy.raw, copy._fields = self.raw, self._fields
        copy._type, copy._boundary, copy._parts = self._type, self._boundary, self._parts
        copy._measured = self._measured
        return copy

    def _read(self, raw: bytes) -> None:
        self._parts = _parts_of(raw, self._boundary)
        check_names({part.name: None for part in self._parts}.keys())
        fields: dict[str, Any] = {}
        for part in self._parts:
            if part.is_file:
                if is_known(part.name):
                    raise invalid_type(part.name, "a text", b"{}")
                continue
            if part.end - part.content > _LONGEST_TEXT:
                raise _unreadable(f"the field '{part.name}' is too long")
            text = _text_of(raw[part.content : part.end])
            if part.narrow and not text.isascii():
                raise _unreadable("a text in it is no UTF-8")
            if part.name.endswith("[]"):
                fields.setdefault(part.name, []).append(text)
            elif part.name in fields:
                raise duplicate_key(part.name)
            else:
                fields[part.name] = text
        self.raw, self._fields = raw, {name: _value(name, value) for name, value in fields.items()}

    def _splice(self, key: str, value: bytes | None) -> None:
        content = None if value is None else _content_of(value)
        if content is not None and self._boundary in content:
            raise _unreadable("its boundary stands in a field")
        raw, parts = self.raw, [part for part in self._parts if part.name == key]
        if content is None:
            for part in reversed(parts):
                raw = raw[: part.start] + raw[part.end + len(b"\r\n") :]
        elif parts:
            raw = b"".join((raw[: parts[0].content], content, raw[parts[0].end :]))
        else:
            head = b'\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % key.encode()
            end = raw.rindex(self._boundary)
            raw = b"".join((raw[:end], self._boundary, head, content, b"\r\n", raw[end:]))
        self._read(raw)


def _boundary_of(content_type: bytes) -> bytes:
    match = _type().fullmatch(content_type.strip())
    if match is None:
        raise _no_form()
    return match[2]


def _parts_of(raw: bytes, delimiter: bytes) -> list[_Part]:
    """Linear: what lies between two delimiters is searched once, and not copied."""
    parts, start, size = list[_Part](), 2 if raw.startswith(b"\r\n") else 0, len(delimiter)
    if not raw.startswith(delimiter, start):
        raise _unreadable("it does not begin with its boundary")
    while raw[start + size : start + size + 4] not in (b"--", b"--\r\n"):
        if len(parts) == MOST_PARAMETERS:
            raise _unreadable(f"it has more than {MOST_PARAMETERS} parts")
        head = start + size + 2
        content = raw.find(b"\r\n\r\n", head - 2, head + _LONGEST_HEAD) + 4
        end = raw.find(b"\r\n" + delimiter, content - 2)
        if raw[start + size : head] != b"\r\n" or content < 4 or end < content:
            raise _unreadable("a part of it has no end, or no head")
        name, is_file, narrow = _named(raw[head : content - 4])
        parts.append(_Part(name, is_file, narrow, start, content, end))
        start = end + 2
    if raw[start + size + 2 :] not in _ENDS:
        raise _unreadable("something follows its end")
    return parts


def _named(head: bytes) -> tuple[str, bool, bool]:
    """The name of a part, whether it is a file, and whether it is a text that holds ASCII alone."""
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or name in headers or name not in _HEADERS:
            raise _unreadable("a header of a part is unknown, or stands twice")
        headers[name] = value.strip(b" \t")
    disposition = _disposition().fullmatch(headers.get(b"content-disposition", b""))
    if disposition is None or headers.get(b"content-transfer-encoding", b"binary").lower() not in _CODINGS:
        raise _unreadable("a part of it has no name, or is encoded")
    if _hides_a_name(disposition["escaped"] or b""):
        raise _unreadable("the name of a file has a quote and another name in it")
    is_file = any(disposition[each] is not None for each in ("before", "file", "named"))
    kind = _text().fullmatch(headers.get(b"content-type", b"text/plain"))
    if not is_file and kind is None:
        raise _unreadable("a part of it is neither a text in UTF-8 nor a file")
    narrow = not is_file and kind is not None and kind["narrow"] is not None
    return _text_of(disposition[1] or disposition[2]), is_file, narrow


def _hides_a_name(filename: bytes) -> bool:
    """Whether one who ends at the first quote, as if no backslash stood before it, would read more parameters then."""
    behind = filename.partition(b'\\"')[2]
    return b"=" in behind.partition(b";")[2]


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _unreadable("a text in it is no UTF-8") from None


def _value(name: str, value: str | list[str]) -> msgspec.Raw:
    """A field as JSON."""
    if name == "stream" and value in ("true", "false"):
        return msgspec.Raw(value.encode())
    if name in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit():
        return msgspec.Raw(msgspec.json.encode(int(value[:20])))
    return msgspec.Raw(msgspec.json.encode(value))


def _content_of(value: bytes) -> bytes:
    """JSON as what stands in a field."""
    decoded = msgspec.json.decode(value)
    return decoded.encode() if isinstance(decoded, str) else value


def _no_form() -> GatewayError:
    message = "Unsupported Content-Type. This endpoint accepts 'multipart/form-data' with a boundary."
    return GatewayError(415, message, code="unsupported_content_type")


def _unreadable(why: str) -> GatewayError:
    return GatewayError(400, f"We could not parse the multipart form of your request: {why}.")
