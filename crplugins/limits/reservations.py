"""Reservations: what running requests hold in a limit store, from their start until they are settled.

`Reservations` is what plugins use; `LiveReservations` renews the leases of all that are not settled yet.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Final, Protocol, Self, cast

from crplugins.core.errors import SERVER_ERROR, GatewayError
from crplugins.core.processes import is_one_of_several
from crplugins.core.shared import Shared
from crplugins.core.waiting import stopped
from crplugins.limits.limit import Charge, Decision, Level, Limit, LimitReading, Reservation
from crplugins.limits.memory import MemoryStore, unix_milliseconds
from crplugins.limits.queues import LimitQueues
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, LimitStore, StoreUnavailable

logger = logging.getLogger("crplugins.limits")


Milliseconds = Callable[[], int]
"""A clock: milliseconds since 1970."""

PAUSES: Final = (0.1, 0.5, 2.0, 8.0)
"""Seconds between the attempts to settle in a store that does not answer: together well within the life of a lease."""

_numbers = itertools.count()


def reservation_suffix() -> str:
    """Makes a plugin's reservation ids unique: several plugins may reserve for one request in a shared store."""
    return f"/{next(_numbers)}"


class Reservations(Shared):
    """Reserves in a store and settles there, for one plugin or for several that share it.

    `settle` starts a settlement and returns, so that it can be called where nothing can be awaited. None is lost: when
    the last plugin exits, it waits for all of them.

    Args:
        store: entered with the first plugin and exited with the last. One that can settle and adjust without waiting
            has the methods `settle_now` and `adjust_now`.
        clock: for tests; None for the store's own clock.
    """

    def __init__(self, store: LimitStore, *, clock: Milliseconds | None = None) -> None:
        self.store: Final = store
        self.queues: Final = LimitQueues(shared=not isinstance(store, MemoryStore))
        """Requests that wait until others have settled, or until time has passed."""
        self.unsettled = 0
        """Settlements that failed for good: their estimates stay charged until they drain or their window ends."""
        self._clock: Final = clock
        self._settle_now = cast("_Now | None", getattr(store, "settle_now", None))
        self._adjust_now = cast("_Now | None", getattr(store, "adjust_now", None))
        self._adjusted: Final[dict[str, Reservation]] = {}
        self._adjusting: Final[dict[str, asyncio.Task[None]]] = {}
        self._live: Final = LiveReservations(store, now=self._time)
        self._settling: Final[set[asyncio.Task[None]]] = set()
        self._entered = AsyncExitStack()

    @classmethod
    def of(cls, store: "LimitStore | Reservations | None") -> "Reservations":
        """Those given, if they are shared with other plugins; else new ones, in memory if no store is given."""
        if isinstance(store, Reservations):
            return store
        return cls(MemoryStore() if store is None else store)

    async def reserve(self, reservation_id: str, charges: tuple[Charge, ...]) -> tuple[Reservation, Decision]:
        """Raises `GatewayError` 503 if the store is unavailable and there is no fallback."""
        reservation = Reservation(reservation_id, charges)
        try:
            decision = await self.store.reserve(reservation, now=self._time())
        except StoreUnavailable:
            raise limits_unavailable() from None
        except asyncio.CancelledError:  # it may have reached the store
            self.settle(reservation, [0] * len(charges))
            raise
        if decision.refused is None:
            self._live.add(reservation)
        return reservation, decision

    def adjust(self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT) -> None:
        """Replace what is reserved for a request that goes on. Returns at once; no limit refuses it. Does nothing for
        one that is settled.

        If the store does not answer, what was reserved before stays; it is for the caller to try again later.
        """
        if reservation.id not in self._live:
            return
        if self._adjust_now is not None:
            self._adjust_now(self._as_adjusted(reservation), costs, debt=debt, now=self._time())
            self._adjusted[reservation.id] = reservation.costing(costs)
        elif reservation.id not in self._adjusting:
            adjusting = asyncio.get_running_loop().create_task(self._adjust(reservation, costs, debt))
            self._adjusting[reservation.id] = adjusting
            adjusting.add_done_callback(lambda _: self._adjusting.pop(reservation.id))

    def settle(self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT) -> None:
        """Replace what was reserved, or what it was adjusted to, by the real costs. Returns at once."""
        self._live.discard(reservation)
        if self._settle_now is not None:
            reserved = self._adjusted.pop(reservation.id, reservation)
            self._settle_now(reserved, costs, debt=debt, now=self._time())
            if self.queues.waiting:
                self.queues.freed(reserved.charges)
            return
        task = asyncio.get_running_loop().create_task(self._settle(reservation, costs, debt))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def now(self) -> int:
        """Milliseconds since 1970, for limits by calendar period."""
        return unix_milliseconds() if self._clock is None else self._clock()

    async def levels(self, limits: Sequence[Limit]) -> tuple[LimitReading, ...]:
        """Raises `StoreUnavailable`."""
        return await self.store.levels(limits, now=self._time())

    async def levels_or_refuse(self, limits: Sequence[Limit]) -> tuple[Level, ...]:
        """The same for who refuses a request. Raises `GatewayError` 503 if the store is unavailable."""
        try:
            return tuple([Level(reading.used, reading.reset) for reading in await self.levels(limits)])
        except StoreUnavailable:
            raise limits_unavailable() from None

    async def open(self) -> None:
        if isinstance(self.store, MemoryStore) and await asyncio.to_thread(is_one_of_several):
            logger.warning(
                "limits.store is memory, and this is one of several processes: each of them lets all that is "
                "allowed through. sqlite:///limits.db is one store for all of a machine"
            )
        await self._entered.enter_async_context(self.store)
        await self._entered.enter_async_context(self._live)

    async def close(self) -> None:
        while self._settling:
            settling = {*self._settling}
            await asyncio.gather(*settling, return_exceptions=True)
            self._settling.difference_update(settling)  # Python 3.12 may not have run their callbacks
        await self._entered.aclose()

    def _as_adjusted(self, reservation: Reservation) -> Reservation:
        return self._adjusted.get(reservation.id, reservation)

    async def _adjust(self, reservation: Reservation, costs: Sequence[int], debt: float) -> None:
        with suppress(StoreUnavailable):
            if await self.store.adjust(self._as_adjusted(reservation), costs, debt=debt, now=self._time()):
                self._adjusted[reservation.id] = reservation.costing(costs)

    async def _settle(self, reservation: Reservation, costs: Sequence[int], debt: float) -> None:
        if (adjusting := self._adjusting.get(reservation.id)) is not None:
            await asyncio.wait([adjusting])
        reservation = self._adjusted.pop(reservation.id, reservation)
        for pause in (*PAUSES, None):
            try:
                await self.store.settle(reservation, costs, debt=debt, now=self._time())
            except StoreUnavailable as error:
                if pause is None:
                    self.unsettled += 1
                    logger.warning("request %s was not settled: %s", reservation.id, error)
                else:
                    await asyncio.sleep(pause)
            else:
                if self.queues.waiting:
                    self.queues.freed(reservation.charges)
                return

    def _time(self) -> int | None:
        return None if self._clock is None else self._clock()


class _Now(Protocol):
    def __call__(self, reservation: Reservation, costs: Sequence[int], *, debt: float, now: int | None) -> object: ...


class LiveReservations:
    """Renews all live reservations with one call, three times in the length of a lease.

    When the process dies, they are not renewed, and the leases expire. An async context manager; reservations may be
    added before it is entered.

    Args:
        lease: its length in milliseconds, as in `reserve`.
        now: gives the time of a renewal; None for the store's own clock.
    """

    def __init__(
        self, store: LimitStore, lease: int = LEASE_MILLISECONDS, *, now: Callable[[], int | None] = lambda: None
    ) -> None:
        self._store, self._lease, self._now = store, lease, now
        self._live: dict[str, Reservation] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, reservation_id: str) -> bool:
        return reservation_id in self._live

    def add(self, reservation: Reservation) -> None:
        self._live[reservation.id] = reservation

    def discard(self, reservation: Reservation) -> None:
        """Stop renewing one that is settled, or about to be. Does nothing if it is not there."""
        self._live.pop(reservation.id, None)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._renew(), name="crplugins.limits: renew")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await stopped(self._task)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3000)
            if self._live:
                await self._renew_all()

    async def _renew_all(self) -> None:
        """Whatever goes wrong, there is a second attempt before anything expires."""
        try:
            await self._store.renew(list(self._live.values()), lease=self._lease, now=self._now())
        except Exception as error:
            logger.warning("%d reservations could not be renewed: %s", len(self._live), error)


def limits_unavailable() -> GatewayError:
    """503: whether the limits admit the request cannot be checked now."""
    return GatewayError(
        503,
        "Rate limits cannot be checked at the moment. Please retry your request.",
        type=SERVER_ERROR,
        headers=[("retry-after", "2")],
        error_type="overloaded",
    )
