"""The fallback of a limit store: what decides about limits during an outage of the store, by `on_store_error`."""

# ruff: noqa: ARG002 -- the protocol's arguments

from collections.abc import Callable, Sequence
from math import floor
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from crplugins.core.bounded_map import BoundedMap
from crplugins.limits.limit import Charge, Decision, Level, Limit, LimitReading, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, LimitStore, StoreUnavailable

OnStoreError = Literal["local", "open", "closed"]
"""The policy of a deployment during an outage of its store:

- `local`: each process enforces its share of the limits by itself (`LocalShare`).
- `open`: everything is admitted (fail open, `AdmitAll`).
- `closed`: everything is refused (fail closed, `RefuseAll`); `StoreUnavailable` is raised, which becomes a 503.
"""

MEANWHILE: Final = {
    "local": "meanwhile each process allows its share of the limits",
    "open": "meanwhile everything is admitted",
    "closed": "meanwhile requests are refused with 503",
}
"""The policies in words, for the log."""


Share = Callable[[], float]
"""What part of each limit is this process's own now: above 0, at most 1."""


def fixed_share(share: float) -> Share:
    """Raises `ValueError` for a share that is not above 0 and at most 1."""
    if not 0 < share <= 1:
        raise ValueError("a share is above 0 and at most 1")
    return lambda: share


def fallback_store(policy: OnStoreError, share: Share) -> LimitStore:
    """The `LimitStore` to use during an outage. `share` is for `local`; the others ignore it."""
    if policy == "local":
        return LocalShare(share)
    return AdmitAll() if policy == "open" else RefuseAll()


class LocalShare:
    """A `LimitStore` in memory whose limits are this process's share of those it is given, but at least 1.

    A charge that fits the whole limit is admitted while the share is empty. Levels are those of the whole limit, of
    which the other processes' shares count as used.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._store = MemoryStore()
        self._own_reservations: dict[str, Reservation] = {}
        """What is settled is what was reserved, whatever the share is by then."""
        self._spent: BoundedMap[str, int] = BoundedMap()
        """What is known to be spent of each window; the share is of what was left of it."""

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        own = Reservation(reservation.id, tuple([self._own_charge(charge) for charge in reservation.charges]))
        decision = await self._store.reserve(own, lease=lease, now=now)
        if decision.refused is None:
            self._own_reservations[reservation.id] = own
        levels = [
            msgspec.structs.replace(level, used=level.used + self._of_others(charge.limit))
            for charge, level in zip(reservation.charges, decision.levels, strict=True)
        ]
        return msgspec.structs.replace(decision, levels=tuple(levels))

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        own = self._own_reservations.pop(reservation.id, reservation)
        return await self._store.settle(own, costs, debt=debt, now=now)

    async def adjust(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        own = self._own_reservations.get(reservation.id, reservation)
        adjusted = await self._store.adjust(own, costs, debt=debt, now=now)
        if adjusted:
            self._own_reservations[reservation.id] = own.costing(costs)
        return adjusted

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        await self._store.renew(reservations, lease=lease, now=now)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        uses = await self._store.levels([self._own(limit) for limit in limits], now=now)
        return tuple(
            [
                msgspec.structs.replace(use, used=use.used + self._of_others(limit))
                for limit, use in zip(limits, uses, strict=True)
            ]
        )

    async def seed(self, limit: Limit, used: int) -> None:
        self._spent[limit.key] = max(used, self._spent_of(limit))
        await self._store.seed(limit, used)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def _part(self, amount: int) -> int:
        return max(1, floor(amount * self._share())) if amount > 0 else 0

    def _own(self, limit: Limit) -> Limit:
        """This process's part of a limit, with the same key."""
        if limit.kind == "window":
            spent = self._spent_of(limit)
            return msgspec.structs.replace(limit, amount=spent + self._part(limit.amount - spent))
        return msgspec.structs.replace(limit, amount=self._part(limit.amount), burst=self._part(limit.burst))

    def _own_charge(self, charge: Charge) -> Charge:
        limit = self._own(charge.limit)
        fits = charge.cost <= charge.limit.amount
        return Charge(limit, min(charge.cost, limit.amount - self._spent_of(limit)) if fits else charge.cost)

    def _spent_of(self, limit: Limit) -> int:
        return self._spent.get(limit.key) or 0

    def _of_others(self, limit: Limit) -> int:
        own = self._own(limit)
        return limit.burst - own.burst if limit.kind == "meter" else limit.amount - own.amount


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

    async def adjust(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return True

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        """Nothing expires."""

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        return (LimitReading(0, 0, 0),) * len(limits)

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

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        raise StoreUnavailable(_CLOSED)
