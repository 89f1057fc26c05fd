"""MemoryStore: the limits of one process, in its memory."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from crplugins.limits.limit import Decision, Level, Limit, Reservation
from crplugins.limits.states import States
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS


def milliseconds() -> int:
    """Since 1970."""
    return time.time_ns() // 1_000_000


class MemoryStore:
    """A `LimitStore` that never waits, so that nothing on the event loop comes between the parts of a step.

    What has no effect any more is forgotten along the way, a little with each reservation: drained meters, past
    windows, leases and reservations that have run out.
    """

    def __init__(self, *, clock: Callable[[], int] = milliseconds) -> None:
        self._clock = clock
        self._states = States()

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        moment = self._clock() if now is None else now
        decision = self._states.reserve(reservation, lease, moment)
        # More than it has added. By the earlier clock: a `now` ahead of time is no reason to forget.
        self._states.forget(moment if now is None else min(moment, self._clock()), 2 * len(reservation.charges) + 2)
        return decision

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        return self._states.settle(reservation, costs, debt, self._clock() if now is None else now)

    def settle_now(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        """`settle`, where nothing can be awaited."""
        return self._states.settle(reservation, costs, debt, self._clock() if now is None else now)

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        self._states.renew(reservations, lease, self._clock() if now is None else now)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[Level, ...]:
        return self._states.levels(limits, self._clock() if now is None else now)

    async def seed(self, limit: Limit, used: int) -> None:
        self._states.windows.seed(limit, used)

    def __len__(self) -> int:
        """How much is remembered: limits of which something may be used, and reservations."""
        return len(self._states)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to close."""
