"""Deadline: a timeout of the server's, not of an event loop that was held up."""

import asyncio
from types import TracebackType
from typing import Final, Self

LATE: Final = 0.01
"""Seconds. A timer that is later than this says more about this process than about the server."""

GRACE: Final = 0.04
"""Seconds that the answer, which may have come long ago, is given then; once."""


class Deadline:
    """`async with Deadline(seconds):` raises `TimeoutError` as `asyncio.timeout` does.

    A loop that was held up runs the timer before it hands the answer to whom it belongs, and a busy gateway would take
    a healthy store for a dead one.
    """

    __slots__ = ("_due", "_graced", "_seconds", "_timeout", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._graced = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._set(self._seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _set(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + seconds
        self._timer = loop.call_at(self._due, self._passed)

    def _passed(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._due > LATE and not self._graced:
            self._graced = True
            self._set(GRACE)
        else:
            self._timeout.reschedule(now)
