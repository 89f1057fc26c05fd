"""Seeding: raises the use of budgets in the limit store to what the ledger knows, because a store may have lost it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Final, Literal, cast

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.single_flight import SingleFlight
from crplugins.limits.store import LimitStore, StoreUnavailable
from crplugins.plugins.budgets.windows import BudgetWindow

LedgerScope = Literal["key", "team"]
"""Whose spending a ledger knows. It keeps no end users under the names that budgets have of them, and no sessions."""

Spent = Callable[[LedgerScope, str, datetime], Awaitable[int]]
"""Micro-USD that a key or team has spent in requests that began at or after a time (UTC). It may raise anything."""

RECONCILE_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 2.0
"""How long a request waits for the ledger at most. A later answer counts from the next request on."""

logger = logging.getLogger("crplugins.budgets")


class Seeding:
    """Compares windows in the store with the ledger: before the first use, and again while they are in use.

    A budget that is not in use costs nothing. If the store has lost a budget in use, it is right again after
    `reconcile_seconds` at most.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, store: LimitStore, spent: Spent, reconcile_seconds: float, clock: Callable[[], float]) -> None:
        self.failures = 0
        """How often the ledger or the store did not answer."""
        self._store, self._spent, self._clock = store, spent, clock
        self._reconcile_seconds: Final = reconcile_seconds
        self._compared_at: Final[BoundedMap[str, float]] = BoundedMap()
        self._lookups: Final[SingleFlight[None]] = SingleFlight()

    async def compare(self, windows: Iterable[BudgetWindow]) -> None:
        """Return when all those that were never compared with the ledger have been, or after `PATIENCE_SECONDS`."""
        now = self._clock()
        new = []
        for window in windows:
            if window.scope not in ("key", "team"):
                continue
            compared_at = self._compared_at.get(window.limit.key)
            if compared_at is None:
                new.append(window)
            elif now - compared_at >= self._reconcile_seconds:
                self._start(window)
        if new:
            await asyncio.wait([self._start(window) for window in new], timeout=PATIENCE_SECONDS)
            for window in new:
                self._compared_at[window.limit.key] = now  # no other request waits for a ledger that does not answer

    def take_over(self, previous: "Seeding") -> None:
        """What has been compared with the same ledger in the same store need not be compared again at once."""
        if (self._store, self._spent) == (previous._store, previous._spent):
            self._compared_at.update(previous._compared_at)

    async def close(self) -> None:
        """Cancel running lookups, and compare every window again after the next start."""
        await self._lookups.close()
        self._compared_at.clear()

    def _start(self, window: BudgetWindow) -> asyncio.Task[None]:
        """One lookup at a time for each window."""
        return self._lookups.start(window.limit.key, lambda: self._seed(window))

    async def _seed(self, window: BudgetWindow) -> None:
        try:
            spent = await self._spent(cast("LedgerScope", window.scope), window.owner, window.start)
            await self._store.seed(window.limit, spent)
        except StoreUnavailable:
            self.failures += 1  # the store logs it itself
        except Exception as error:
            self.failures += 1
            logger.warning(
                "the spending of %s %s could not be read from the ledger: %r", window.scope, window.owner, error
            )
        self._compared_at[window.limit.key] = self._clock()
