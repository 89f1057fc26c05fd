"""Presence: how many processes use a store, so that each knows its share of the limits when the store fails."""

from typing import Final
from uuid import uuid4

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.store import LEASE_MILLISECONDS, LimitStore

PROCESSES: Final = Limit("lease", "processes", 1_000_000)
"""Each process holds one lease of it: one that is killed is no longer counted after the length of a lease."""


class Presence:
    """One process among those that use `store`.

    Args:
        least: how many there are, as far as is known without the store.

    Attributes:
        processes: how many there were when this one was last announced.
    """

    def __init__(self, store: LimitStore, least: int = 1) -> None:
        self._store, self._least = store, least
        self._here: Final = Reservation(f"process/{uuid4().hex}", (Charge(PROCESSES, 1),))
        self.processes = least

    async def announce(self) -> None:
        """Say that this process is there, for the length of a lease, and count all. Raises `StoreUnavailable`."""
        await self._store.reserve(self._here, lease=LEASE_MILLISECONDS)
        [level] = await self._store.levels([PROCESSES])
        self.processes = max(self._least, level.used)

    async def leave(self) -> None:
        """Raises `StoreUnavailable`."""
        await self._store.settle(self._here, [1])
