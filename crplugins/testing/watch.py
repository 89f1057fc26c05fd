"""Waiting until something that other tasks change has come about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watch:
    """Whoever changes the state calls `notify`, whoever waits for it calls `until`."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self, *_: object) -> None:
        """Something changed. Takes and ignores arguments, so that it is a done callback as it stands."""
        self._changed.set()

    async def until(self, reached: Callable[[], object], what: str, within: float | None = None) -> None:
        """Return once `reached()` is true. TimeoutError that names `what` after `within` seconds (None: never)."""
        try:
            async with asyncio.timeout(within):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"{what}: not within {within} seconds") from None
