"""LiveReservations: keeps what this process has reserved from running out."""

import asyncio
import logging
from contextlib import suppress
from types import TracebackType
from typing import Self

from crplugins.limits.limit import Reservation
from crplugins.limits.store import LEASE_MILLISECONDS, LimitStore

logger = logging.getLogger("crplugins.limits")


class LiveReservations:
    """Renews all of them with one call, three times in the length of a lease.

    When the process dies, nobody does, and the leases are free after the length of one. An async context manager;
    reservations may be added before it is entered.

    Args:
        lease: milliseconds, as it was reserved.
    """

    def __init__(self, store: LimitStore, lease: int = LEASE_MILLISECONDS) -> None:
        self._store, self._lease = store, lease
        self._live: dict[str, Reservation] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._live)

    def add(self, reservation: Reservation) -> None:
        self._live[reservation.id] = reservation

    def discard(self, reservation: Reservation) -> None:
        """It is settled, or about to be. Nothing happens if it is not there."""
        self._live.pop(reservation.id, None)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._renew(), name="crplugins.limits: renew")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3000)
            if self._live:
                await self._renew_all()

    async def _renew_all(self) -> None:
        """Whatever goes wrong, there is a second attempt before anything runs out."""
        try:
            await self._store.renew(list(self._live.values()), lease=self._lease)
        except Exception as error:
            logger.warning("%d reservations could not be renewed: %s", len(self._live), error)
