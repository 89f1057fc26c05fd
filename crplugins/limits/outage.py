"""GuardedStore: a store that may fail, and what decides in its place then."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeVar

from crplugins.limits.breaker import Breaker
from crplugins.limits.limit import Decision, Level, Limit, Reservation
from crplugins.limits.owed import Owed
from crplugins.limits.stand_in import OnStoreError, stand_in
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, LimitStore, StoreUnavailable

LATE_SECONDS: Final = 1.0
"""After which nothing arrives at a store any more that was sent to it before."""

LOG_SECONDS: Final = 60.0

_PROBE: Final = Limit("window", "probe", 1, 1)
"""Written to, since a replica can be read that cannot be written to. Forgotten a minute later."""

_ACTIVE: Final = {
    "local": "until it does, each process decides about limits by itself",
    "open": "until it does, everything is admitted",
    "closed": "until it does, requests are refused with 503",
}

T = TypeVar("T")

logger = logging.getLogger("crplugins.limits")


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
        share: of each limit, for `local`: 1 / number of processes keeps the whole within the limits. Above 0, at most 1.
        breaker: when to give up and when to try again.
        clock: monotonic seconds.

    Attributes:
        failures: calls that the store did not answer.
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
        self._store, self._policy = store, on_store_error
        self._stand_in = stand_in(on_store_error, share)
        self._breaker = breaker or Breaker(clock=clock)
        self._clock = clock
        self._owed = Owed(clock=clock)
        self._stood_in: set[str] = set()
        self._asking: set[asyncio.Timeout] = set()
        self._since, self._speak_at = 0.0, clock()
        self._recovery: asyncio.Task[None] | None = None
        self.failures = 0

    @property
    def mode_active(self) -> bool:
        """Whether the store is given up for the time being."""
        return self._breaker.open

    @property
    def lost(self) -> int:
        """Settlements that were never made: their estimates stay charged until they drain or their window ends."""
        return self._owed.lost

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        """Raises `StoreUnavailable` if the policy is `closed`, and never otherwise."""
        if not self._breaker.open:
            try:
                return await self._ask(self._store.reserve(reservation, lease=lease, now=now))
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
        if not self._breaker.open:
            with suppress(StoreUnavailable):
                return await self._ask(self._store.settle(reservation, costs, debt=debt, now=now))
        self._owed.add(reservation, costs, debt)
        self._recover()
        return False

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        """Never raises `StoreUnavailable`."""
        elsewhere = [reservation for reservation in reservations if reservation.id in self._stood_in]
        if elsewhere:
            await self._stand_in.renew(elsewhere, lease=lease, now=now)
        here = [reservation for reservation in reservations if reservation.id not in self._stood_in]
        if here and not self._breaker.open:
            with suppress(StoreUnavailable):
                await self._ask(self._store.renew(here, lease=lease, now=now))

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        """Raises `StoreUnavailable` if the policy is `closed`, and never otherwise."""
        if not self._breaker.open:
            with suppress(StoreUnavailable):
                return await self._ask(self._store.levels(limits, now=now))
        return await self._stand_in.levels(limits, now=now)

    async def seed(self, limit: Limit, used: int) -> None:
        """Of what decides during an outage too, so that it knows what was spent before. Raises as `reserve` does."""
        if not self._breaker.open:
            with suppress(StoreUnavailable):
                await self._ask(self._store.seed(limit, used))
        await self._stand_in.seed(limit, used)

    async def __aenter__(self) -> Self:
        """Takes less than half a second, also if the store does not answer."""
        await self._store.__aenter__()
        while not self._breaker.open:
            with suppress(StoreUnavailable):
                await self._probe()
                break
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            with suppress(asyncio.CancelledError):
                await self._recovery
        await self._store.__aexit__(kind, error, traceback)
