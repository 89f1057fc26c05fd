"""HeldRefusal: plugins see a refusal of the app before the client does, and may have the app called once more."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import Message, Send

from crplugins.asgi.headers import JSON, content_type
from crplugins.asgi.sending import BODY, START
from crplugins.core.exchange import Refusal

MAX_REFUSAL_BYTES: Final = 64 * 1024
"""A refusal past this is shown to nobody: an error message is short."""


class HeldRefusal:
    """Takes the messages of an app that may be called once more, until it is known whether it is.

    Args:
        release: called when nothing is held any longer; returns the `send` for this message and all that follow.
        send_other: for messages that come before a start and are none.
        ask: whether the app is called again.

    Attributes:
        again: it is.
    """

    __slots__ = ("_ask", "_body", "_release", "_send_other", "_start", "again")

    def __init__(self, release: Callable[[], Send], send_other: Send, ask: Callable[[Refusal], bool]) -> None:
        self._release = release
        self._send_other = send_other
        self._ask = ask
        self._start: Message | None = None
        self._body = b""
        self.again = False

    def send(self, message: Message) -> Awaitable[None]:
        if self._start is not None or self.again or _is_refusal(message):
            return self._hold(message)
        return self._release()(message) if message["type"] in (START, BODY) else self._send_other(message)

    async def _hold(self, message: Message) -> None:
        if self.again:
            return
        start = self._start
        if start is None:
            self._start = message
            return
        if message["type"] != BODY:  # a file the server reads itself, or whatever else
            send = self._release()
            await send(start)
            await send(message)
            return
        self._body += message.get("body", b"")
        more = message.get("more_body", False)
        if more and len(self._body) <= MAX_REFUSAL_BYTES:
            return
        self._start = None
        if not more and self._ask(Refusal(start["status"], self._body)):
            self.again = True
            return
        send = self._release()
        await send(start)
        await send({"type": BODY, "body": self._body, "more_body": more})


def _is_refusal(message: Message) -> bool:
    if message["type"] != START or message["status"] < 400:
        return False
    return content_type(message.get("headers", ())) == JSON
