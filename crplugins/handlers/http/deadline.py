"""MovingDeadline: when something must have happened. Moving it costs no timer."""

import asyncio
from collections.abc import Callable
from typing import Final

from crplugins.handlers.http.interface import NEVER

LOOK_AGAIN_SECONDS: Final = 1.0
"""Until a deadline is looked at again that has passed while bytes of the upstream waited to be taken."""


def _nothing() -> None:
    pass


class MovingDeadline:
    """Calls `missed` when the time has come.

    Each token of a stream moves the deadline, and a timer for each would cost more than relaying the token. So one
    timer stays as it was set, and looks at its end how much time is left.

    Attributes:
        latest: it is never moved beyond this.
    """

    __slots__ = ("_armed", "_at", "_handle", "_loop", "_missed", "latest")

    def __init__(self, loop: asyncio.AbstractEventLoop, missed: Callable[[], None]) -> None:
        self._loop = loop
        self._missed = missed
        self._at = self._armed = self.latest = NEVER
        self._handle: asyncio.TimerHandle | None = None

    def move(self, at: float) -> None:
        """To `at`, by the clock of the loop; `NEVER` for no deadline but the latest."""
        if at > self.latest:
            at = self.latest
        self._at = at
        if at < self._armed:
            self._arm(at)

    def cancel(self) -> None:
        """For good: nothing refers to what this belongs to any more."""
        self._at, self._missed = NEVER, _nothing
        if self._handle is not None:
            self._handle.cancel()
            self._handle, self._armed = None, NEVER

    def _arm(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = at
        self._handle = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._handle, self._armed = None, NEVER
        if self._at <= self._loop.time():
            self._at = NEVER
            self._missed()
        elif self._at != NEVER:
            self._arm(self._at)
