"""Owed: settlements that a store could not make yet."""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from crplugins.limits.limit import Reservation
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS

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
