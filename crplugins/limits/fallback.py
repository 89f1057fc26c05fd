"""What decides while a store does not: everything is admitted, nothing is, or a share of the limits."""

from collections.abc import Sequence
from math import floor
from types import TracebackType

# ruff: noqa: ARG002 -- the protocol's arguments
from typing import Final, Literal, Self

from crplugins.limits.limit import Charge, Decision, Level, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, LimitStore, StoreUnavailable


class Share:
    """A `LimitStore` whose limits are `share` of those it is given, but at least 1.

    What would fit the whole limit is admitted by an empty share. Levels are told as of the whole limit, of which the
    others' shares count as used.

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
        decision = await self._store.reserve(self._reservation(reservation), lease=lease, now=now)
        limits = [charge.limit for charge in reservation.charges]
        return decision._replace(levels=self._as_of_the_whole(limits, decision.levels))

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return await self._store.settle(self._reservation(reservation), costs, debt=debt, now=now)

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        await self._store.renew(reservations, lease=lease, now=now)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        levels = await self._store.levels([self._limit(limit) for limit in limits], now=now)
        return self._as_of_the_whole(limits, levels)

    async def seed(self, limit: Limit, used: int) -> None:
        own = self._limit(limit)
        await self._store.seed(own, max(0, own.amount - floor((limit.amount - used) * self._share)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def _part(self, amount: int) -> int:
        return max(1, floor(amount * self._share))

    def _limit(self, limit: Limit) -> Limit:
        return limit._replace(amount=self._part(limit.amount), burst=self._part(limit.burst))

    def _charge(self, charge: Charge) -> Charge:
        limit = self._limit(charge.limit)
        return Charge(limit, min(charge.cost, limit.amount) if charge.cost <= charge.limit.amount else charge.cost)

    def _reservation(self, reservation: Reservation) -> Reservation:
        return reservation._replace(charges=tuple([self._charge(charge) for charge in reservation.charges]))

    def _as_of_the_whole(self, limits: Sequence[Limit], levels: Sequence[Level]) -> tuple[Level, ...]:
        return tuple([self._of_whole(limit, level) for limit, level in zip(limits, levels, strict=True)])

    def _of_whole(self, limit: Limit, level: Level) -> Level:
        capacity = limit.burst if limit.kind == "meter" else limit.amount
        return level._replace(used=level.used + capacity - self._part(capacity))


OnStoreError = Literal["local", "open", "closed"]
"""The policy of a deployment for the time in which its store does not answer:

- `local`: each process decides by itself, by a share of the limits.
- `open`: everything is admitted.
- `closed`: nothing is; `StoreUnavailable` is raised, of which a 503 becomes.
"""

MEANWHILE: Final = {
    "local": "meanwhile each process decides about limits by itself",
    "open": "meanwhile everything is admitted",
    "closed": "meanwhile requests are refused with 503",
}
"""For the log."""

_UNUSED: Final = Level(0, 0)


def stand_in(policy: OnStoreError, share: float) -> LimitStore:
    """A `LimitStore` for the time of an outage. `share` is of each limit, and means nothing but for `local`."""
    if policy == "local":
        return Share(share)
    return Everything() if policy == "open" else Nothing()


class Everything:
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
        """Nothing runs out."""

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


class Nothing(Everything):
    """A `LimitStore` that answers no question."""

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        raise StoreUnavailable(_CLOSED)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        raise StoreUnavailable(_CLOSED)


_CLOSED: Final = "the store of limits is not available"
