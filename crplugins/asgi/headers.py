"""What headers say of a body, and the headers that fit another one."""

from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter
from typing import Final

from crplugins.core.errors import Header

EVENT_STREAM: Final = b"text/event-stream"
JSON: Final = b"application/json"

name_of: Final = itemgetter(0)
value_of: Final = itemgetter(1)
"""For `map`, which goes through the dozen headers of a message many times faster than a loop of ours."""

_OF_LENGTH: Final = (b"content-length", b"transfer-encoding")


def content_type(headers: Iterable[Header]) -> bytes:
    """The media type without its parameters, in lower case; empty if none is named."""
    for name, value in headers:
        if name.lower() == b"content-type":
            return _media_type(value)
    return b""


def readable_type(headers: Collection[Header]) -> bytes | None:
    """The media type of a body that can be read as it is; None if it is compressed. Of names in lower case."""
    fields = dict(headers)
    if len(fields) == len(headers):  # none stands twice, as nearly always: there is nothing to go through
        if fields.get(b"content-encoding", b"") not in (b"", b"identity"):
            return None
        return _media_type(fields.get(b"content-type", b""))
    kind = b""
    for name, value in headers:
        if name == b"content-encoding" and value not in (b"", b"identity"):
            return None
        if name == b"content-type" and not kind:
            kind = _media_type(value)
    return kind


def _media_type(value: bytes) -> bytes:
    return value.partition(b";")[0].strip().lower()


def without_length(headers: list[Header]) -> list[Header]:
    """Headers that fit a body whose length nobody knows yet. Of names in lower case."""
    if b"content-length" not in map(name_of, headers):
        return headers
    return [header for header in headers if header[0] != b"content-length"]


def with_body_headers(headers: Sequence[Header], length: int) -> list[Header]:
    """Headers that fit a replaced body of `length` bytes. Of names in lower case."""
    names = [*map(name_of, headers)]
    fitted = [*headers]
    if names.count(b"content-length") > 1 or b"transfer-encoding" in names:
        fitted = [header for header in headers if header[0] not in _OF_LENGTH]
    elif b"content-length" in names:
        del fitted[names.index(b"content-length")]
    fitted.append((b"content-length", b"%d" % length))
    return fitted


def with_lower_names(headers: Iterable[Header]) -> list[Header]:
    """Django capitalises their names, against ASGI."""
    headers = [*headers]
    names = [*map(name_of, headers)]
    lower = [*map(bytes.lower, names)]
    return headers if names == lower else [*zip(lower, map(value_of, headers), strict=True)]
