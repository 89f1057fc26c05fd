"""Renewals: reservations live on for as long as their requests run, however long that is."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from crplugins.limits.limit import Reservation
from crplugins.limits.store import LEASE_MILLISECONDS, LimitStore, StoreUnavailable

TICK_SECONDS: Final = LEASE_MILLISECONDS / 1000 / 3
"""Twice in a lease a renewal may fail."""

logger = logging.getLogger("crplugins.limits")


class Renewals:
    """Renews all at once, a few times in each lease; nothing is done while no request runs.

    Args:
        time: the moment that the store is given, milliseconds since 1970; None for its own clock.
    """

    def __init__(self, store: LimitStore, time: Callable[[], int | None]) -> None:
        self._store, self._time = store, time
        self._live: Final[dict[str, Reservation]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    def begin(self, reservation: Reservation) -> None:
        self._live[reservation.id] = reservation
        if self._timer is None:
            self._wait()

    def end(self, reservation: Reservation) -> None:
        self._live.pop(reservation.id, None)

    async def close(self) -> None:
        """What still runs is left to its lease."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
            self._renewing = None
        self._live.clear()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._live:
            return
        self._wait()
        if self._renewing is None or self._renewing.done():  # else the store is slow, and asked already
            self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        try:
            await self._store.renew(list(self._live.values()), lease=LEASE_MILLISECONDS, now=self._time())
        except StoreUnavailable as error:
            logger.warning("the reservations of %d requests were not renewed: %s", len(self._live), error)
