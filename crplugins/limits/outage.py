"""GuardedStore: a store that may fail, and what decides in its place then."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self

from crplugins.limits.availability import Availability, Breaker
from crplugins.limits.fallback import MEANWHILE, OnStoreError, stand_in
from crplugins.limits.limit import Decision, Level, Limit, Reservation
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, LimitStore, StoreUnavailable

MOST: Final = 10_000

Settle = Callable[[Reservation, Sequence[int], float], Awaitable[object]]
"""Raises `StoreUnavailable`, if the settlement is to be kept."""


class Owed:
    """Those that are made too late change nothing, and a second one of the same reservation does not either.

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
        """Of a reservation that may have been made without anybody having heard of it."""
        self._add(_Settlement(reservation, (0,) * len(reservation.charges), DEBT, self._clock(), refund=True))

    async def pay(self, settle: Settle) -> None:
        """All of them, oldest first. Raises `StoreUnavailable`; the rest is still owed then."""
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


LATE_SECONDS: Final = 1.0
"""After which nothing arrives at a store any more that was sent to it before."""

LAST_SECONDS: Final = 1.0
"""For what is still owed when the store is left."""

_PROBE: Final = Limit("window", "probe", 1, 1)
"""Written to, since a replica can be read that cannot be written to. Forgotten a minute later."""


class GuardedStore:
    """A `LimitStore` that decides even while `store` does not.

    After three failures in a row nobody waits for the store any more; it is tried again in the background after 1 s,
    then after up to 5 s. It may be down when a gateway starts: that is logged and changes nothing else, for a gateway
    that is restarted during an outage has to come back. So are a wrong password and a wrong port.

    A reservation is settled where it was made. What a store has not settled during an outage is made up for if it is
    back within the length of a lease, and so is what it may have charged without an answer.

    Args:
        store: entered and left by this one.
        on_store_error: `local`, `open` or `closed`.
        share: of each limit, above 0 and at most 1, for `local`: 1 / processes keeps all of them within the limits.
        breaker: when to give up and when to try again.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: LimitStore,
        *,
        on_store_error: OnStoreError = "local",
        share: float = 1.0,
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._stand_in = stand_in(on_store_error, share)
        self._available = Availability(
            self._probe,
            self._recover,
            meanwhile=MEANWHILE[on_store_error],
            breaker=breaker or Breaker(clock=clock),
            clock=clock,
        )
        self._owed = Owed(clock=clock)
        self._stood_in: set[str] = set()
        self._recovery: asyncio.Task[None] | None = None

    @property
    def mode_active(self) -> bool:
        """Whether the store is given up for the time being."""
        return not self._available

    @property
    def failures(self) -> int:
        """Calls that the store did not answer."""
        return self._available.failures

    @property
    def lost(self) -> int:
        """Settlements that were never made: their estimates stay charged until they drain or their window ends."""
        return self._owed.lost

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        """Raises `StoreUnavailable` if the policy is `closed`, and never otherwise."""
        if self._available:
            try:
                return await self._available.ask(self._store.reserve(reservation, lease=lease, now=now))
            except StoreUnavailable:
                self._refund(reservation)
            except asyncio.CancelledError:
                self._refund(reservation)
                raise
        decision = await self._stand_in.reserve(reservation, lease=lease, now=now)
        if decision.refused is None:
            self._stood_in.add(reservation.id)
        return decision

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """Never raises `StoreUnavailable`: False, if it is put off."""
        if reservation.id in self._stood_in:
            self._stood_in.discard(reservation.id)
            return await self._stand_in.settle(reservation, costs, debt=debt, now=now)
        if self._available:
            with suppress(StoreUnavailable):
                return await self._available.ask(self._store.settle(reservation, costs, debt=debt, now=now))
        self._owed.add(reservation, costs, debt)
        self._recover()
        return False

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        """Never raises `StoreUnavailable`."""
        elsewhere = [reservation for reservation in reservations if reservation.id in self._stood_in]
        await self._stand_in.renew(elsewhere, lease=lease, now=now)
        here = [reservation for reservation in reservations if reservation.id not in self._stood_in]
        if here and self._available:
            with suppress(StoreUnavailable):
                await self._available.ask(self._store.renew(here, lease=lease, now=now))

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        """Raises `StoreUnavailable` if the policy is `closed`, and never otherwise."""
        if self._available:
            with suppress(StoreUnavailable):
                return await self._available.ask(self._store.levels(limits, now=now))
        return await self._stand_in.levels(limits, now=now)

    async def seed(self, limit: Limit, used: int) -> None:
        """Also for what decides during an outage, which has to know what was spent before. Never raises."""
        await self._stand_in.seed(limit, used)
        if self._available:
            with suppress(StoreUnavailable):
                await self._available.ask(self._store.seed(limit, used))

    async def __aenter__(self) -> Self:
        """Takes less than half a second, also if the store does not answer."""
        await self._store.__aenter__()
        await self._available.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
        with suppress(Exception):  # what cannot be settled now is lost with this process
            async with asyncio.timeout(LAST_SECONDS):
                await self._owed.pay(self._pay)
        await self._store.__aexit__(kind, error, traceback)

    async def _probe(self) -> None:
        used = time.time_ns() // 1_000_000  # more than at any probe before, or nothing would be written
        await self._store.seed(_PROBE, used)

    def _refund(self, reservation: Reservation) -> None:
        """The store may have charged it all the same, and would keep a dead lease for as long as it lives."""
        self._owed.add_refund(reservation)
        self._recover()

    def _recover(self) -> None:
        if self._recovery is None or self._recovery.done():
            self._recovery = asyncio.create_task(self._recovering(), name="crplugins.limits: recovery")

    async def _recovering(self) -> None:
        while self._owed or not self._available:
            await self._available.returned()
            if self._owed:
                await asyncio.sleep(LATE_SECONDS)
            with suppress(Exception):  # what is still owed then is tried again, until it is too late
                await self._owed.pay(self._pay)

    async def _pay(self, reservation: Reservation, costs: Sequence[int], debt: float) -> None:
        await self._available.ask(self._store.settle(reservation, costs, debt=debt))
