"""Comments that keep an idle stream open through proxies that drop silent connections."""

import asyncio
from collections.abc import Callable

from starlette.types import Send

COMMENT = b": keep-alive\n\n"


class IdleComments:
    """Sends a comment whenever `seconds` have passed in silence, from a task of its own.

    Only between whole events, and only while the stream is idle: a simple line parser may reject comments.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], send: Send) -> None:
        self._seconds = seconds
        self._clock = clock
        self._send = send
        self._last = clock()
        self._task = asyncio.create_task(self._run())

    def sent(self) -> None:
        """A piece of the stream went out."""
        self._last = self._clock()

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            silence = self._clock() - self._last
            if silence >= self._seconds:
                self.sent()
                await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
            else:
                await asyncio.sleep(self._seconds - silence)
