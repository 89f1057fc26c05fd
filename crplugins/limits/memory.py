"""MemoryStore: the limits of one process, in its memory."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from crplugins.limits.limit import Decision, Limit, LimitReading, Reservation
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS
from crplugins.limits.table import LimitTable


def unix_milliseconds() -> int:
    """The wall clock: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def steady_milliseconds() -> int:
    """Milliseconds on a clock that nobody sets. It is the same in all processes of a machine, and begins with it."""
    return time.monotonic_ns() // 1_000_000


class MemoryStore:
    """A `LimitStore` that never awaits, so that nothing else on the event loop runs between the parts of one call.

    Expired state is removed gradually, a little with each reservation: drained meters, windows that have ended, and
    expired leases and reservations.

    Args:
        clock: for tests; leases go by it too. None for the wall clock, and for leases a clock that nobody sets.
    """

    def __init__(self, *, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock or unix_milliseconds
        self._steady = clock or steady_milliseconds
        self._table = LimitTable()

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        present, steady = self._clock(), self._steady()
        if now is None:
            decision = self._table.reserve(reservation, lease, present, steady)
        else:
            decision = self._table.reserve(reservation, lease, now, now)
            present, steady = min(present, now), min(steady, now)  # what is still in use must not be removed
        self._table.expire(present, steady, 2 * len(reservation.charges) + 2)  # more than it has added
        return decision

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return self._table.settle(reservation, costs, debt, *self._times(now))

    def settle_now(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """`settle`, for callers that cannot await."""
        if now is None:
            return self._table.settle(reservation, costs, debt, self._clock(), self._steady())
        return self._table.settle(reservation, costs, debt, now, now)

    async def adjust(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return self._table.adjust(reservation, costs, debt, *self._times(now))

    def adjust_now(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """`adjust`, for callers that cannot await."""
        return self._table.adjust(reservation, costs, debt, *self._times(now))

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        self._table.renew(reservations, lease, self._steady() if now is None else now)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        return self._table.levels(limits, *self._times(now))

    async def seed(self, limit: Limit, used: int) -> None:
        self._table.windows.seed(limit, used)

    def __len__(self) -> int:
        """How many states are kept: of limits that may be in use, and of reservations."""
        return len(self._table)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def _times(self, now: int | None) -> tuple[int, int]:
        """By both clocks. A time that is given counts for both."""
        return (self._clock(), self._steady()) if now is None else (now, now)
