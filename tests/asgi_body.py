"""What a provider of ours, an ASGI app, is sent."""

from typing import Any


async def request_body(receive: Any) -> bytes:
    """The whole body, or what had come of it when the client left."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body
