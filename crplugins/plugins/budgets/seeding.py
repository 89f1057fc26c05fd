"""Seeding: what the ledger knows of a budget's use, and a store does not know or has lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Final

from crplugins.core.bounded_map import BoundedMap
from crplugins.limits.store import LimitStore, StoreUnavailable
from crplugins.plugins.budgets.windows import BudgetWindow, Scope

Spent = Callable[[Scope, str, datetime], Awaitable[int]]
"""Micro-USD that a key or team has spent in requests which began at or after a moment (UTC). It may raise anything."""

RECONCILE_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 2.0
"""How long a request waits for the ledger at most. What it then tells counts from the next request on."""

logger = logging.getLogger("crplugins.budgets")


class Seeding:
    """Raises windows in the store to what the ledger has: before the first use, and again while they are in use.

    A budget nobody uses costs nothing. One whose store has lost it is right again a `reconcile_seconds` later at most.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, store: LimitStore, spent: Spent, reconcile_seconds: float, clock: Callable[[], float]) -> None:
        self.failures = 0
        """How often the ledger or the store could not be asked."""
        self._store, self._spent, self._clock = store, spent, clock
        self._reconcile_seconds: Final = reconcile_seconds
        self._asked: Final[BoundedMap[str, float]] = BoundedMap()
        self._running: Final[dict[str, asyncio.Task[None]]] = {}

    async def compare(self, windows: Iterable[BudgetWindow]) -> None:
        """Return once those never compared with the ledger have been, or that takes too long."""
        now = self._clock()
        new = []
        for window in windows:
            asked = self._asked.get(window.limit.key)
            if asked is None:
                new.append(window)
            elif now - asked >= self._reconcile_seconds:
                self._begin(window)
        if new:
            await asyncio.wait([self._begin(window) for window in new], timeout=PATIENCE_SECONDS)
            for window in new:
                self._asked[window.limit.key] = now  # nobody else waits for a ledger that does not answer

    async def close(self) -> None:
        """End what is still being asked, and begin anew when opened again."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asked.clear()

    def _begin(self, window: BudgetWindow) -> asyncio.Task[None]:
        """Once at a time for each window."""
        key = window.limit.key
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(self._seed(window))
            task.add_done_callback(lambda _task: self._running.pop(key, None))
        return task

    async def _seed(self, window: BudgetWindow) -> None:
        try:
            spent = await self._spent(window.scope, window.owner, window.start)
            await self._store.seed(window.limit, spent)
        except StoreUnavailable:
            self.failures += 1  # the store's own business to tell
        except Exception as error:
            self.failures += 1
            logger.warning("what %s %s has spent could not be looked up: %r", window.scope, window.owner, error)
        self._asked[window.limit.key] = self._clock()
