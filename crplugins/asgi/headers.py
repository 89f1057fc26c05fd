"""What headers say of a body, and the headers that fit another one."""

from collections.abc import Iterable
from typing import Final

from crplugins.core.errors import Header

EVENT_STREAM: Final = b"text/event-stream"
JSON: Final = b"application/json"

_OF_LENGTH: Final = (b"content-length", b"transfer-encoding")


def content_type(headers: Iterable[Header]) -> bytes:
    """The media type without its parameters, in lower case; empty if none is named."""
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def is_encoded(headers: Iterable[Header]) -> bool:
    """Whether the body is compressed."""
    for name, value in headers:  # noqa: SIM110 (`any` over a generator would be a call for every header)
        if name.lower() == b"content-encoding" and value not in (b"", b"identity"):
            return True
    return False


def with_body_headers(headers: Iterable[Header], length: int) -> list[Header]:
    """Headers that fit a replaced body of `length` bytes."""
    return [*(h for h in headers if h[0] not in _OF_LENGTH), (b"content-length", str(length).encode())]
