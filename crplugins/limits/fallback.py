"""The fallback of a limit store: what decides about limits during an outage of the store, by `on_store_error`."""

from collections.abc import Sequence
from math import floor
from types import TracebackType

# ruff: noqa: ARG002 -- the protocol's arguments
from typing import Final, Literal, Self

from crplugins.limits.limit import Charge, Decision, Level, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, LimitStore, StoreUnavailable

OnStoreError = Literal["local", "open", "closed"]
"""The policy of a deployment during an outage of its store:

- `local`: each process enforces a share of the limits by itself (`LocalShare`).
- `open`: everything is admitted (fail open, `AdmitAll`).
- `closed`: everything is refused (fail closed, `RefuseAll`); `StoreUnavailable` is raised, which becomes a 503.
"""

MEANWHILE: Final = {
    "local": "meanwhile each process decides about limits by itself",
    "open": "meanwhile everything is admitted",
    "closed": "meanwhile requests are refused with 503",
}
"""The policies in words, for the log."""


def fallback_store(policy: OnStoreError, share: float) -> LimitStore:
    """The `LimitStore` to use during an outage. `share` is the part of each limit for `local`; the others ignore it."""
    if policy == "local":
        return LocalShare(share)
    return AdmitAll() if policy == "open" else RefuseAll()


class LocalShare:
    """A `LimitStore` in memory whose limits are `share` of those it is given, but at least 1.

    A charge that fits the whole limit is admitted while the share is empty. Levels are those of the whole limit, of
    which the other processes' shares count as used.

    Raises `ValueError` for a share that is not above 0 and at most 1.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError("a share is above 0 and at most 1")
        self._share = share
        self._store = MemoryStore()

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        decision = await self._store.reserve(self._scaled_reservation(reservation), lease=lease, now=now)
        limits = [charge.limit for charge in reservation.charges]
        return decision._replace(levels=self._whole_levels(limits, decision.levels))

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return await self._store.settle(self._scaled_reservation(reservation), costs, debt=debt, now=now)

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        await self._store.renew(reservations, lease=lease, now=now)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        levels = await self._store.levels([self._scaled_limit(limit) for limit in limits], now=now)
        return self._whole_levels(limits, levels)

    async def seed(self, limit: Limit, used: int) -> None:
        own = self._scaled_limit(limit)
        await self._store.seed(own, max(0, own.amount - floor((limit.amount - used) * self._share)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def _scaled(self, amount: int) -> int:
        return max(1, floor(amount * self._share))

    def _scaled_limit(self, limit: Limit) -> Limit:
        return limit._replace(amount=self._scaled(limit.amount), burst=self._scaled(limit.burst))

    def _scaled_charge(self, charge: Charge) -> Charge:
        limit = self._scaled_limit(charge.limit)
        return Charge(limit, min(charge.cost, limit.amount) if charge.cost <= charge.limit.amount else charge.cost)

    def _scaled_reservation(self, reservation: Reservation) -> Reservation:
        return reservation._replace(charges=tuple([self._scaled_charge(charge) for charge in reservation.charges]))

    def _whole_levels(self, limits: Sequence[Limit], levels: Sequence[Level]) -> tuple[Level, ...]:
        return tuple([self._whole_level(limit, level) for limit, level in zip(limits, levels, strict=True)])

    def _whole_level(self, limit: Limit, level: Level) -> Level:
        capacity = limit.burst if limit.kind == "meter" else limit.amount
        return level._replace(used=level.used + capacity - self._scaled(capacity))


_UNUSED: Final = Level(0, 0)


class AdmitAll:
    """A `LimitStore` that admits everything and counts nothing."""

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        return Decision(None, 0, (_UNUSED,) * len(reservation.charges))

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return True

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        """Nothing expires."""

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        return (_UNUSED,) * len(limits)

    async def seed(self, limit: Limit, used: int) -> None:
        """Nothing is counted."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to close."""


_CLOSED: Final = "the limit store is unavailable"


class RefuseAll(AdmitAll):
    """A `LimitStore` that raises `StoreUnavailable` for every reservation and every question about levels."""

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        raise StoreUnavailable(_CLOSED)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        raise StoreUnavailable(_CLOSED)
