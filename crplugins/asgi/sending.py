"""The one sender of replies: a plugin's own answer, and that of a handler."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from starlette.types import Send

from crplugins.asgi.push import FindPush
from crplugins.core.exchange import Push, Reply

START: Final = "http.response.start"
BODY: Final = "http.response.body"


async def send_reply(
    send: Send,
    reply: Reply,
    *,
    failed: Callable[[Exception], bytes] | None = None,
    sent: Callable[[], None] | None = None,
    find_push: FindPush | None = None,
) -> None:
    """Send a whole reply, or a stream to its end.

    Args:
        failed: makes the events that end a stream in which an exception was raised; None to let the exception through.
        sent: called after each piece of a stream.
        find_push: what the scope has of it.
    """
    await send({"type": START, "status": reply.status, "headers": reply.headers})
    if isinstance(reply.body, bytes):
        await send({"type": BODY, "body": reply.body})
        return
    if reply.push_to is not None and find_push is not None and (push := find_push(send)) is not None:
        reply.push_to(push if sent is None else _noting(push, sent))
    last = b""
    async with aclosing(reply.body) as pieces:
        try:
            async for piece in pieces:
                await send({"type": BODY, "body": piece, "more_body": True})
                if sent is not None:
                    sent()
        except Exception as error:
            if failed is None:
                raise
            last = failed(error)
    await send({"type": BODY, "body": last, "more_body": False})


def _noting(push: Push, sent: Callable[[], None]) -> Push:
    def push_and_note(piece: bytes) -> bool:
        sent()
        return push(piece)

    return push_and_note
