"""SqliteStore: limits shared by the worker processes of one machine, in a SQLite file.

The store turns each call into a step on a `LimitTable`; `SqliteThread` runs the steps in transactions of the file.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from crplugins.limits.limit import Decision, Limit, LimitReading, Reservation
from crplugins.limits.memory import steady_milliseconds, unix_milliseconds
from crplugins.limits.sqlite.thread import Clocks, SqliteThread, StoreCall
from crplugins.limits.store import DEBT, LEASE_MILLISECONDS, StoreUnavailable
from crplugins.limits.table import LimitTable

T = TypeVar("T")

_RENEWED_AT_ONCE: Final = 100
"""Reservations in one transaction, for which other processes wait."""


class SqliteStore:
    """A `LimitStore` in the SQLite file at `path`, which is created if there is none.

    Any number of processes may use it at once, and any of them may be killed. Its decisions are those of `MemoryStore`.

    Entering raises `LimitFileError` if the file cannot be used. The methods raise `StoreUnavailable` if other processes
    keep it locked for half a second, or if it cannot be used any more.

    Args:
        clock: for tests; leases go by it too. None for the machine's clocks, as in `MemoryStore`.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], int] | None = None) -> None:
        self._path: Final = Path(path)
        self._clocks: Final = Clocks(clock or unix_milliseconds, clock or steady_milliseconds)
        self._thread: SqliteThread | None = None

    async def reserve(
        self, reservation: Reservation, *, lease: int = LEASE_MILLISECONDS, now: int | None = None
    ) -> Decision:
        def step(table: LimitTable, moment: int, steady: int) -> Decision:
            return table.reserve(reservation, lease, moment, steady)

        return await self._call(step, _limits_of(reservation), [reservation.id], now)

    async def settle(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        def step(table: LimitTable, moment: int, steady: int) -> bool:
            return table.settle(reservation, costs, debt, moment, steady)

        return await self._call(step, _limits_of(reservation), [reservation.id], now)

    async def adjust(
        self, reservation: Reservation, costs: Sequence[int], *, debt: float = DEBT, now: int | None = None
    ) -> bool:
        def step(table: LimitTable, moment: int, steady: int) -> bool:
            return table.adjust(reservation, costs, debt, moment, steady)

        return await self._call(step, _limits_of(reservation), [reservation.id], now)

    async def renew(self, reservations: Sequence[Reservation], *, lease: int, now: int | None = None) -> None:
        for first in range(0, len(reservations), _RENEWED_AT_ONCE):
            await self._renew(reservations[first : first + _RENEWED_AT_ONCE], lease, now)

    async def levels(self, limits: Sequence[Limit], *, now: int | None = None) -> tuple[LimitReading, ...]:
        def step(table: LimitTable, moment: int, steady: int) -> tuple[LimitReading, ...]:
            return table.levels(limits, moment, steady)

        return await self._call(step, limits, [], now)

    async def seed(self, limit: Limit, used: int) -> None:
        def step(table: LimitTable, _moment: int, _steady: int) -> None:
            table.windows.seed(limit, used)

        await self._call(step, [limit], [], None)

    async def __aenter__(self) -> Self:
        thread = SqliteThread(self._path, self._clocks)
        await thread.start()
        self._thread = thread
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.stop()

    async def _renew(self, reservations: Sequence[Reservation], lease: int, now: int | None) -> None:
        def step(table: LimitTable, _moment: int, steady: int) -> None:
            table.renew(reservations, lease, steady)

        limits = [limit for each in reservations for limit in _limits_of(each) if limit.kind == "lease"]
        await self._call(step, limits, [each.id for each in reservations], now)

    async def _call(
        self,
        step: Callable[[LimitTable, int, int], T],
        limits: Sequence[Limit],
        reservations: Sequence[str],
        now: int | None,
    ) -> T:
        if self._thread is None:
            raise StoreUnavailable("the limit store is not open")
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._thread.submit(StoreCall(step, limits, reservations, now, result))
        return await result


def _limits_of(reservation: Reservation) -> list[Limit]:
    return [charge.limit for charge in reservation.charges]
