"""Notices silence without a timer per piece: rescheduling one for each chunk would cost more than relaying it."""

import asyncio
from collections.abc import Callable


class Watchdog:
    """Calls `bark` once, as soon as `seconds` have passed without a `pat`."""

    __slots__ = ("_bark", "_handle", "_loop", "_patted", "_seconds", "barked")

    def __init__(self, seconds: float, bark: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._bark = bark
        self._patted = self._loop.time()
        self.barked = False
        self._handle = self._loop.call_later(seconds, self._look)

    def pat(self) -> None:
        """Something came."""
        self._patted = self._loop.time()

    def stop(self) -> None:
        self._handle.cancel()

    def _look(self) -> None:
        left = self._patted + self._seconds - self._loop.time()
        if left > 0:
            self._handle = self._loop.call_later(left, self._look)
        else:
            self.barked = True
            self._bark()
