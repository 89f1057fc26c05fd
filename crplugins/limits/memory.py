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


class MemoryStore:
    """A `LimitStore` that never awaits, so that nothing else on the event loop runs between the parts of one call.

    Expired state is removed gradually, a little with each reservation: drained meters, windows that have ended, and
    expired leases and reservations.
    """

    def __init__(self, *, clock: Callable[[], int] = unix_milliseconds) -> None:
        self._clock = clock
        self._table = LimitTable()

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        moment = self._clock() if now is None else now
        decision = self._table.reserve(reservation, lease, moment)
        # More than it has added. By the earlier clock: a `now` in the future must not remove what is still in use.
        self._table.expire(moment if now is None else min(moment, self._clock()), 2 * len(reservation.charges) + 2)
        return decision

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return self._table.settle(reservation, costs, debt, self._clock() if now is None else now)

    def settle_now(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """`settle`, for callers that cannot await."""
        return self._table.settle(reservation, costs, debt, self._clock() if now is None else now)

    async def adjust(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return self._table.adjust(reservation, costs, debt, self._clock() if now is None else now)

    def adjust_now(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """`adjust`, for callers that cannot await."""
        return self._table.adjust(reservation, costs, debt, self._clock() if now is None else now)

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        self._table.renew(reservations, lease, self._clock() if now is None else now)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        return self._table.levels(limits, self._clock() if now is None else now)

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
