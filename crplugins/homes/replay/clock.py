"""SimulatedLoop: an event loop whose time goes by at once, from one thing that is due to the next.

What waits in it (a request in a queue, the renewal of leases) waits as long as it would, and nobody else does.
"""

import asyncio
import selectors
from collections.abc import Callable
from typing import Final

_RESOLUTION: Final = 1e-6
"""Seconds: what a float still tells apart in a time since 1970."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its time is in seconds since 1970, and begins where it is told.

    Nothing in it may wait for the outside world: time would go by meanwhile. Close it as any other.
    """

    def __init__(self, now: float) -> None:
        self._now = now
        super().__init__(_Jump(self._pass))
        self._clock_resolution = _RESOLUTION  # asyncio's own is lost beside so many seconds, and nothing would be due

    def time(self) -> float:
        return self._now

    def milliseconds(self) -> int:
        """As limit stores count."""
        return int(self._now * 1000)

    async def until(self, moment: float) -> None:
        """Let everything happen that is due before."""
        await asyncio.sleep(moment - self._now)

    def _pass(self, seconds: float) -> None:
        self._now += seconds


class _Jump(selectors.SelectSelector):
    """Does not wait for a time: it lets it pass. Without one it waits for a thread, as at the start."""

    def __init__(self, passes: Callable[[float], None]) -> None:
        super().__init__()
        self._passes: Final = passes

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        self._passes(max(0.0, timeout))
        return super().select(0)
