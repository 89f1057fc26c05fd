"""Replies as every handler sends them."""

from collections.abc import AsyncGenerator
from typing import Final

from crplugins.core.exchange import Reply

_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)


def document_reply(body: bytes) -> Reply:
    """A whole answer, already JSON."""
    length = str(len(body)).encode()
    return Reply(200, [(b"content-type", b"application/json"), (b"content-length", length)], body)


def stream_reply(frames: AsyncGenerator[bytes, None]) -> Reply:
    """A begun stream of complete server-sent events."""
    return Reply(200, list(_STREAM_HEADERS), frames)
