"""HeldRefusal: plugins see a refusal of the app before the client does, and may have the app called once more."""

from collections.abc import Callable
from typing import Final

from starlette.types import Message, Send

from crplugins.asgi.headers import JSON, content_type
from crplugins.asgi.sending import BODY
from crplugins.core.exchange import Refusal

MAX_REFUSAL_BYTES: Final = 64 * 1024
"""A refusal past this is shown to nobody: an error message is short."""


class HeldRefusal:
    """Takes the rest of a refusal, until it is known whether the app is called once more.

    Args:
        start: how it begins.
        release: called when nothing is held any longer; returns the `send` for what was held and all that follows.
        ask: whether the app is called again.

    Attributes:
        again: it is.
    """

    __slots__ = ("_ask", "_body", "_release", "_start", "again")

    def __init__(self, start: Message, release: Callable[[], Send], ask: Callable[[Refusal], bool]) -> None:
        self._start = start
        self._release = release
        self._ask = ask
        self._body = b""
        self.again = False

    async def send(self, message: Message) -> None:
        """The `send` that the app is given from here on."""
        if self.again:
            return
        if message["type"] != BODY:  # a file the server reads itself, or whatever else
            send = self._release()
            await send(self._start)
            await send(message)
            return
        self._body += message.get("body", b"")
        more = message.get("more_body", False)
        if more and len(self._body) <= MAX_REFUSAL_BYTES:
            return
        if not more and self._ask(Refusal(self._start["status"], self._body)):
            self.again = True
            return
        send = self._release()
        await send(self._start)
        await send({"type": BODY, "body": self._body, "more_body": more})


def is_refusal(start: Message) -> bool:
    """Whether an answer that begins so is shown to the plugins first: a 4xx or 5xx in JSON."""
    return start["status"] >= 400 and content_type(start.get("headers", ())) == JSON
