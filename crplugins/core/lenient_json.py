"""JSON as clients read it: what msgspec refuses and the parsers of JavaScript and Python take.

Those take half a surrogate pair (an emoji cut into two chunks), control characters in a string, and Python's the words
`NaN` and `Infinity`. An answer that its client could have read must not fail here, so a document that msgspec refuses
is rewritten to strict JSON and read once more. The client is sent the original bytes.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

Kind = TypeVar("Kind", bound=msgspec.Struct)

NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading a document raises that no parser of a client can read."""

_WORD: Final = re.compile(rb"-?\bInfinity\b|\bNaN\b")
_HALF_A_PAIR: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
_REPLACEMENT: Final = rb"\\ufffd"
_CONTROLS: Final = bytes(range(0x20))
_TO_SPACES: Final = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))
_BACKSLASH, _QUOTE = b"\x00\x00", b"\x00\x01"  # what stands for an escaped one meanwhile, as no text holds controls
_MOST_TEXTS: Final = 1_000_000
_BOM: Final = b"\xef\xbb\xbf"


def strict_json(data: bytes) -> bytes:
    """The same document for msgspec: half surrogate pairs are U+FFFD, control characters spaces, NaN is null.

    Linear in the size of `data`, and without a step of Python for each text of it. What is no JSON to any parser stays
    none.
    """
    data = data.removeprefix(_BOM).translate(_TO_SPACES).replace(b"\\\\", _BACKSLASH)
    if b"\\ud" in data or b"\\uD" in data:
        data = _HALF_A_PAIR.sub(_REPLACEMENT, data)
    if b"NaN" in data or b"Infinity" in data:
        data = _without_words(data.replace(b'\\"', _QUOTE)).replace(_QUOTE, b'\\"')
    return data.replace(_BACKSLASH, b"\\\\")


def _without_words(data: bytes) -> bytes:
    """`data`, whose quotes are all ends of texts, with null in place of what is a number to JavaScript alone."""
    if data.count(b'"') > 2 * _MOST_TEXTS:
        return data
    pieces = data.split(b'"')  # the second, the fourth ... are texts
    pieces[::2] = [_WORD.sub(b"null", piece) if len(piece) > len(b"NaN") else piece for piece in pieces[::2]]
    return b'"'.join(pieces)


def decode_leniently(data: bytes) -> Any:
    """The value of a JSON document, read as strictly as clients read it.

    For who looks at a document and sends it on as it came. Raises `NOT_JSON` for what they cannot read either.
    """
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return msgspec.json.decode(strict_json(data))


def decode_with_halves(data: bytes) -> Any:
    """The same, but half a surrogate pair stays what it is, to be joined with the other half in the next piece.

    For who writes the document anew, with `encoded`. Raises `NOT_JSON`.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return json.loads(data, strict=False)
        except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
            raise msgspec.DecodeError(str(error)) from None


def encoded(value: Any) -> bytes:
    """`value` as JSON. Halves of a surrogate pair, which every client's parser reads, stay the escapes they were."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), default=_decoded).encode()


def _decoded(raw: msgspec.Raw) -> Any:
    return json.loads(bytes(raw), strict=False)


def joined(pieces: Iterable[str]) -> str:
    """The text that came in these pieces. Two halves of a surrogate pair that meet in it are one character."""
    text = "".join(pieces)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return text


def object_of(value: Any) -> dict[str, Any]:
    """`value` if it is a JSON object; else an empty one."""
    return value if isinstance(value, dict) else {}


def objects_of(value: Any) -> list[dict[str, Any]]:
    """The JSON objects of an array; none of anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def first_json_value(data: bytes) -> bytes | None:
    """The first JSON value of `data`, without what follows it; None if it does not begin with one."""
    try:
        text = data.decode()
        start = len(text) - len(text.lstrip())
        _, end = json.JSONDecoder(strict=False).raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return text[start:end].encode()


def struct_of_what_fits(value: Any, kind: type[Kind]) -> Kind | None:
    """A struct of those fields of a JSON object that fit; None for anything but an object."""
    if not isinstance(value, dict):
        return None
    fields = {field.name: _fitting(value.get(field.name), field.type) for field in msgspec.structs.fields(kind)}
    return kind(**{name: fitting for name, fitting in fields.items() if fitting is not None})


def _fitting(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False, from_attributes=True)
    except msgspec.ValidationError:
        return None
