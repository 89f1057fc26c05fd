"""The way in: read a request body within a limit, and hand it on to an app that expects to receive it."""

from collections.abc import Iterable

from starlette.types import Message, Receive

from crplugins.core.errors import Header, body_too_large


class ClientGone(Exception):
    """The client left before its request was complete."""


def check_declared_length(headers: Iterable[Header], limit: int) -> None:
    """Raise 413 for a body that announces itself too large, before reading any of it."""
    for name, value in headers:
        if name == b"content-length":
            if value.isdigit() and int(value) > limit:
                raise body_too_large(limit, int(value))
            return


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises `GatewayError` 413 past `limit` bytes, `ClientGone` if the client leaves meanwhile.
    """
    message = await _request_message(receive)
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise body_too_large(limit, len(body))
    if not message.get("more_body", False):
        return body  # the very object received: a second boundary recognises it and shares the parse
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await _request_message(receive)
        body = message.get("body", b"")
        size += len(body)
        if size > limit:
            raise body_too_large(limit, size)
        parts.append(body)
    return b"".join(parts)


async def _request_message(receive: Receive) -> Message:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    return message


def with_body_headers(headers: Iterable[Header], length: int) -> list[Header]:
    """Headers that fit a replaced body of `length` bytes."""
    kept = [h for h in headers if h[0] not in (b"content-length", b"transfer-encoding")]
    return [*kept, (b"content-length", str(length).encode())]
