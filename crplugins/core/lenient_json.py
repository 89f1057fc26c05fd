"""JSON as clients read it: what msgspec refuses and the parsers of JavaScript and Python take.

Those take half a surrogate pair (an emoji cut into two chunks), control characters in a string, and Python's the words
`NaN` and `Infinity`. An answer that its client could have read must not fail here, so a document that msgspec refuses
is rewritten to strict JSON and read once more. The client is sent the original bytes.
"""

import json
import re
from typing import Any, Final, TypeVar

import msgspec

Kind = TypeVar("Kind", bound=msgspec.Struct)

# A text, or a word that is no JSON outside of texts. The closing quote is optional, because the search would begin anew
# at each quote of a text without one: the work would grow with the square of the length.
_TEXT_OR_WORD: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|-?\bInfinity\b|\bNaN\b', re.DOTALL)
_ESCAPE_OR_CONTROL: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole pair
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"  # half a pair
    rb"|\\.|[\x00-\x1f]",
    re.DOTALL,
)
_HALF_A_PAIR: Final = len(rb"\ud800")
_REPLACEMENT: Final = rb"\ufffd"
_BOM: Final = b"\xef\xbb\xbf"


def strict_json(data: bytes) -> bytes:
    """The same document for msgspec: half surrogate pairs are U+FFFD, control characters escaped, NaN is null.

    Linear in the size of `data`. What is no JSON to any parser stays none.
    """
    return _TEXT_OR_WORD.sub(_strict_token, data.removeprefix(_BOM))


def decode_leniently(data: bytes) -> Any:
    """The value of a JSON document, read as strictly as clients read it.

    Raises `msgspec.DecodeError`, `UnicodeDecodeError` or `RecursionError` for what they cannot read either.
    """
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return msgspec.json.decode(strict_json(data))


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


def _strict_token(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if token[:1] != b'"':
        return b"null"
    return _ESCAPE_OR_CONTROL.sub(_strict_escape, token)


def _strict_escape(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if token[:1] != b"\\":
        return b"\\u%04x" % token[0]
    return _REPLACEMENT if len(token) == _HALF_A_PAIR else token
