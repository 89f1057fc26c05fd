"""HeldRefusal: keeps an app's refusal back until the plugins have said whether to ask again."""

from collections.abc import Awaitable, Callable

from starlette.types import Message, Send

from crplugins.core.exchange import Refusal
from crplugins.core.headers import content_type

MAX_REFUSAL_BYTES = 64 * 1024
"""A refusal past this is shown to nobody: an error message is short."""


class HeldRefusal:
    """`send` for an app that may be asked once more.

    Args:
        send: where everything goes but a refusal that leads to a second call.
        ask: whether it does.
    """

    __slots__ = ("_ask", "_body", "_passing", "_send", "_start", "again")

    def __init__(self, send: Send, ask: Callable[[Refusal], bool]) -> None:
        self._send = send
        self._ask = ask
        self._start: Message | None = None
        self._body = b""
        self._passing = False
        self.again = False

    def send(self, message: Message) -> Awaitable[None]:
        """The `send` that the app is given."""
        if self._passing:
            return self._send(message)
        if self._start is None and not self.again and not _is_refusal(message):
            self._passing = message["type"] == "http.response.start"
            return self._send(message)
        return self._hold(message)

    async def _hold(self, message: Message) -> None:
        if self.again:
            return
        if self._start is None:
            self._start = message
            return
        if message["type"] != "http.response.body":  # a file the server reads itself, or whatever else
            start, self._start = self._start, None
            await self._send(start)
            await self._send(message)
            return
        self._body += message.get("body", b"")
        more = message.get("more_body", False)
        if more and len(self._body) <= MAX_REFUSAL_BYTES:
            return
        start, self._start = self._start, None
        if not more and self._ask(Refusal(start["status"], self._body)):
            self.again = True
            return
        await self._send(start)
        await self._send({"type": "http.response.body", "body": self._body, "more_body": more})


def _is_refusal(message: Message) -> bool:
    if message["type"] != "http.response.start" or message["status"] < 400:
        return False
    return content_type(message.get("headers", ())) == b"application/json"
