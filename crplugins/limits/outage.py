"""GuardedStore: a limit store that may fail, with a fallback that decides during its outages.

`GuardedStore` sends each call to the store or to the fallback; `Availability` says which. What the store could not
settle waits in `PendingSettlements` and is settled after the outage by a background task, the recovery.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self

from crplugins.limits.availability import Availability, CircuitBreaker
from crplugins.limits.fallback import MEANWHILE, OnStoreError, fallback_store, fixed_share
from crplugins.limits.limit import Decision, Limit, LimitReading, Reservation
from crplugins.limits.presence import Presence
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, LimitStore, StoreUnavailable

LATE_SECONDS: Final = 1.0
"""After this time nothing that was sent to a store before can still arrive there."""

LAST_SECONDS: Final = 1.0
"""How long the exit of the store may take to settle what is still pending."""

ANNOUNCE_SECONDS: Final = 5.0
"""How often a process says that it is there: how long a new one is not counted in the shares of the others."""


class GuardedStore:
    """A `LimitStore` that decides even during an outage of `store`.

    After three failures in a row the store is unavailable: no request waits for it any more, and it is probed in the
    background after 1 s, then after up to 5 s. It may be down when a gateway starts: that is logged and changes nothing
    else, for a gateway that is restarted during an outage has to start. The same is true of a wrong password and a
    wrong port.

    A reservation is settled where it was made. What a store has not settled during an outage is settled later, if it
    is available again within the length of a lease; what it may have charged without an answer is refunded.

    The processes that use a store count each other in it (`Presence`), so that with `local` each of them allows an
    equal share of the limits, and all of them together the limits.

    Args:
        store: entered and exited by this one.
        on_store_error: `local`, `open` or `closed`.
        share: of each limit, above 0 and at most 1, for `local`; None for an equal share.
        processes: how many use the store at least, for a start during an outage.
        breaker: when an outage begins and when to probe again.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: LimitStore,
        *,
        on_store_error: OnStoreError = "local",
        share: float | None = None,
        processes: int = 1,
        breaker: CircuitBreaker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._presence = Presence(store, processes)
        self._fallback = fallback_store(on_store_error, self._equal_share if share is None else fixed_share(share))
        self._available = Availability(
            self._presence.announce,
            self._start_recovery,
            meanwhile=MEANWHILE[on_store_error],
            breaker=breaker or CircuitBreaker(clock=clock),
            clock=clock,
        )
        self._pending = PendingSettlements(clock=clock)
        self._made_by_fallback: set[str] = set()
        self._recovery: asyncio.Task[None] | None = None
        self._announcing: asyncio.Task[None] | None = None

    @property
    def unavailable(self) -> bool:
        """Whether there is an outage now, and the fallback decides."""
        return not self._available

    @property
    def processes(self) -> int:
        """How many used the store when it was last asked, this one included."""
        return self._presence.processes

    @property
    def failures(self) -> int:
        """Calls that the store did not answer."""
        return self._available.failures

    @property
    def lost(self) -> int:
        """Settlements that were never made: their estimates stay charged until they drain or their window ends."""
        return self._pending.lost

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        """Raises `StoreUnavailable` if the policy is `closed`, and never otherwise."""
        if self._available:
            try:
                return await self._available.call(self._store.reserve(reservation, lease=lease, now=now))
            except StoreUnavailable:
                self._refund(reservation)
            except asyncio.CancelledError:
                self._refund(reservation)
                raise
        decision = await self._fallback.reserve(reservation, lease=lease, now=now)
        if decision.refused is None:
            self._made_by_fallback.add(reservation.id)
        return decision

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """Never raises `StoreUnavailable`: False, if the settlement is pending."""
        if reservation.id in self._made_by_fallback:
            self._made_by_fallback.discard(reservation.id)
            return await self._fallback.settle(reservation, costs, debt=debt, now=now)
        if self._available:
            with suppress(StoreUnavailable):
                return await self._available.call(self._store.settle(reservation, costs, debt=debt, now=now))
        self._pending.add(reservation, costs, debt)
        self._start_recovery()
        return False

    async def adjust(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """Never raises `StoreUnavailable`: False, if nobody knows whether it was done."""
        if reservation.id in self._made_by_fallback:
            return await self._fallback.adjust(reservation, costs, debt=debt, now=now)
        if self._available:
            with suppress(StoreUnavailable):
                return await self._available.call(self._store.adjust(reservation, costs, debt=debt, now=now))
        return False

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        """Never raises `StoreUnavailable`."""
        elsewhere = [reservation for reservation in reservations if reservation.id in self._made_by_fallback]
        await self._fallback.renew(elsewhere, lease=lease, now=now)
        here = [reservation for reservation in reservations if reservation.id not in self._made_by_fallback]
        if here and self._available:
            with suppress(StoreUnavailable):
                await self._available.call(self._store.renew(here, lease=lease, now=now))

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        """Raises `StoreUnavailable` if the policy is `closed`, and never otherwise."""
        if self._available:
            with suppress(StoreUnavailable):
                return await self._available.call(self._store.levels(limits, now=now))
        return await self._fallback.levels(limits, now=now)

    async def seed(self, limit: Limit, used: int) -> None:
        """Also the fallback, which has to know during an outage what was spent before. Never raises."""
        await self._fallback.seed(limit, used)
        if self._available:
            with suppress(StoreUnavailable):
                await self._available.call(self._store.seed(limit, used))

    async def __aenter__(self) -> Self:
        """Takes less than a second where the store does not answer, on a machine that is not busy."""
        await self._store.__aenter__()
        await self._available.begin()
        self._announcing = asyncio.create_task(self._announce(), name="crplugins.limits: announce")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if tasks := [task for task in (self._recovery, self._announcing) if task is not None]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        with suppress(Exception):  # what cannot be settled now is lost with this process
            async with asyncio.timeout(LAST_SECONDS):
                await self._pending.settle_all(self._settle_pending)
                await self._presence.leave()
        await self._store.__aexit__(kind, error, traceback)

    def _equal_share(self) -> float:
        return 1 / self.processes

    async def _announce(self) -> None:
        while True:
            await asyncio.sleep(ANNOUNCE_SECONDS)
            if self._available:
                with suppress(Exception):  # whatever it is, the next attempt may succeed
                    await self._available.call(self._presence.announce())

    def _refund(self, reservation: Reservation) -> None:
        """The store may have charged it all the same, and would keep a lease that nobody uses until it expires."""
        self._pending.add_refund(reservation)
        self._start_recovery()

    def _start_recovery(self) -> None:
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.create_task(self._recover(), name="crplugins.limits: recovery")

    async def _recover(self) -> None:
        while self._pending or not self._available:
            await self._available.recovered()
            if self._pending:
                await asyncio.sleep(LATE_SECONDS)
            with suppress(Exception):  # what is still pending then is retried, until it is too late
                await self._pending.settle_all(self._settle_pending)

    async def _settle_pending(self, reservation: Reservation, costs: Sequence[int], debt: float) -> None:
        await self._available.call(self._store.settle(reservation, costs, debt=debt))


MOST: Final = 10_000
"""Pending settlements at most: the oldest is lost when one more comes."""

Settle = Callable[[Reservation, Sequence[int], float], Awaitable[object]]
"""Raises `StoreUnavailable` if the settlement is to stay pending."""


class PendingSettlements:
    """Settlements that a store has not made yet, oldest first.

    Safe to retry: one that comes too late changes nothing in the store, and neither does a second one of the same
    reservation.

    Args:
        clock: monotonic seconds.

    Attributes:
        lost: how many settlements came too late or were too many. What was reserved stays charged.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._settlements: deque[_Settlement] = deque()
        self.lost = 0

    def __bool__(self) -> bool:
        return bool(self._settlements)

    def add(self, reservation: Reservation, costs: Sequence[int], debt: float) -> None:
        self._add(_Settlement(reservation, costs, debt, self._clock()))

    def add_refund(self, reservation: Reservation) -> None:
        """For a reservation that the store may have made although no answer came."""
        self._add(_Settlement(reservation, (0,) * len(reservation.charges), DEBT, self._clock(), refund=True))

    async def settle_all(self, settle: Settle) -> None:
        """All of them, oldest first. Raises `StoreUnavailable`; the rest stays pending then."""
        while self._settlements:
            first = self._settlements[0]
            if self._clock() - first.since > LEASE_MILLISECONDS / 1000:
                self._drop()
                continue
            await settle(first.reservation, first.costs, first.debt)
            if self._settlements and self._settlements[0] is first:
                self._settlements.popleft()

    def _add(self, settlement: "_Settlement") -> None:
        if len(self._settlements) >= MOST:
            self._drop()
        self._settlements.append(settlement)

    def _drop(self) -> None:
        self.lost += not self._settlements.popleft().refund


class _Settlement(NamedTuple):
    reservation: Reservation
    costs: Sequence[int]
    debt: float
    since: float
    refund: bool = False
