"""What headers say of a body, and the headers that fit another one."""

from collections.abc import Collection, Iterable
from typing import Final

from crplugins.core.errors import Header

EVENT_STREAM: Final = b"text/event-stream"
JSON: Final = b"application/json"

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


def with_body_headers(headers: Iterable[Header], length: int) -> list[Header]:
    """Headers that fit a replaced body of `length` bytes."""
    kept = [h for h in headers if h[0] not in _OF_LENGTH]
    kept.append((b"content-length", str(length).encode()))
    return kept
