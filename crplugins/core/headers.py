"""What the headers of a response say of its body. Names in any case: Django capitalises them, against ASGI."""

from collections.abc import Iterable

from crplugins.core.errors import Header


def content_type(headers: Iterable[Header]) -> bytes:
    """The media type without its parameters, in lower case; empty if none is named."""
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def is_encoded(headers: Iterable[Header]) -> bool:
    """Whether the body is compressed."""
    return any(k.lower() == b"content-encoding" and v not in (b"", b"identity") for k, v in headers)
