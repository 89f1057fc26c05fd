"""SqliteThread: the thread in which a process uses the SQLite file, so that its event loop waits for no disk or lock.

The store submits each `Call`; the thread runs those that wait together, as one of the `Transactions` of its connection.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from random import uniform
from typing import Any, Final, NamedTuple

from crplugins.limits.limit import Limit
from crplugins.limits.sqlite.file import LimitFileError, Rows, Sweep, is_busy, open_limit_file
from crplugins.limits.store import StoreUnavailable
from crplugins.limits.table import LimitTable

BUSY_SECONDS: Final = 0.5
"""How long calls wait for other processes. One that has the lock may get no processor for a while on a busy machine."""

_PAUSES: Final = (0.0001, 0.001)
"""Seconds between two attempts, random: SQLite's own busy handler waits longer each time, while others come first."""

OPENING_SECONDS: Final = 5.0
"""How long the start waits for other processes that start at the same time."""

_MOST_ROWS: Final = 512
"""Of one transaction, for which other processes wait. One call may have more."""


class Clocks(NamedTuple):
    """Milliseconds by the wall clock, and by the one that leases go by: all processes of the machine have the same."""

    wall: Callable[[], int]
    steady: Callable[[], int]


class StoreCall(NamedTuple):
    """One call of the store.

    Attributes:
        step: what it does to the table, given the time by both clocks.
        limits, reservations: whose states it needs; reservations by id.
        now: the time by both clocks, if the caller gave one.
        result: where its result goes.
    """

    step: Callable[[LimitTable, int, int], Any]
    limits: Sequence[Limit]
    reservations: Sequence[str]
    now: int | None
    result: asyncio.Future[Any]

    def rows(self) -> int:
        """How many rows it may read and write."""
        return len(self.limits) + len(self.reservations)


class SqliteThread:
    """Runs calls in their order, and together those that have come while others were running.

    If the file cannot be used any more, the running calls fail, and the next ones open it again.
    """

    def __init__(self, path: Path, clocks: Clocks) -> None:
        self._path: Final = path
        self._clocks: Final = clocks
        self._calls: Final[SimpleQueue[StoreCall | None]] = SimpleQueue()
        self._transactions: Transactions | None = None
        self._thread: Final = threading.Thread(target=self._run, name="crplugins-limits", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._opened: Final = self._loop.create_future()
        self._closed: Final = self._loop.create_future()

    async def start(self) -> None:
        """Raises `LimitFileError`."""
        self._thread.start()
        await self._opened

    def submit(self, call: StoreCall) -> None:
        self._calls.put(call)

    async def stop(self) -> None:
        """Returns when all calls have their results."""
        self._calls.put(None)
        await self._closed

    def _run(self) -> None:
        try:
            self._reopen(patience=OPENING_SECONDS)
        except LimitFileError as error:
            self._resolve([self._opened], [error])
            return
        self._resolve([self._opened], [None])
        while calls := self._next():
            self._resolve([call.result for call in calls], self._run_calls(calls))
        self._close()
        self._resolve([self._closed], [None])

    def _next(self) -> list[StoreCall]:
        """At least one, as soon as there is one; none at the end."""
        first = self._calls.get()
        if first is None:
            return []
        calls, rows = [first], first.rows()
        with suppress(Empty):
            while rows < _MOST_ROWS:
                call = self._calls.get_nowait()
                if call is None:
                    self._calls.put(None)
                    break
                calls.append(call)
                rows += call.rows()
        return calls

    def _run_calls(self, calls: Sequence[StoreCall]) -> list[Any]:
        try:
            return self._reopen().run(calls)
        except Exception as error:  # whatever it is, nobody may wait forever
            if not isinstance(error, StoreUnavailable):
                self._close()
            return [self._unavailable(error) for _ in calls]

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        if isinstance(error, StoreUnavailable):
            return StoreUnavailable(*error.args)  # one exception for each call, because a traceback is added to it
        reason = error.reason if isinstance(error, LimitFileError) else f"cannot be used: {error}"
        return StoreUnavailable(f"the limit store {self._path} {reason}")

    def _reopen(self, *, patience: float = BUSY_SECONDS) -> "Transactions":
        if self._transactions is None:
            connection = open_limit_file(self._path, patience, self._clocks.steady())
            self._transactions = Transactions(connection, self._clocks)
        return self._transactions

    def _close(self) -> None:
        if self._transactions is not None:
            with suppress(sqlite3.Error):
                self._transactions.close()
            self._transactions = None

    def _resolve(self, futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_set_results, futures, results)


def _set_results(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    """Runs in the event loop. A caller that has been cancelled meanwhile gets nothing."""
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


class Transactions:
    """The transactions of one connection, in its thread."""

    def __init__(self, connection: sqlite3.Connection, clocks: Clocks) -> None:
        self._connection: Final = connection
        self._clocks: Final = clocks
        self._sweep: Final = Sweep(connection)

    def run(self, calls: Sequence[StoreCall]) -> list[Any]:
        """The results of the calls, or what they raised, in their order. If this raises, none of them has happened.

        Raises `StoreUnavailable` if another process keeps the lock, `sqlite3.Error` if the file cannot be used.
        """
        rows = Rows(
            self._connection,
            [limit for call in calls for limit in call.limits],
            [each for call in calls for each in call.reservations],
        )
        self._begin()
        try:
            results = self._results(calls, rows)
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.rollback()
            raise
        return results

    def close(self) -> None:
        self._connection.close()

    def _begin(self) -> None:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                if time.monotonic() > deadline:
                    raise StoreUnavailable("the limit store is locked by another process") from None
                time.sleep(uniform(*_PAUSES))  # noqa: S311  # not for security
            else:
                return

    def _results(self, calls: Sequence[StoreCall], rows: Rows) -> list[Any]:
        # Read while the lock is held, so that no other process has written a later time.
        now, steady = self._clocks.wall(), self._clocks.steady()
        given = [call.now for call in calls if call.now is not None]
        table = rows.load()
        results = [_result(call, table, now, steady) for call in calls]
        # A time in the future must not delete what is in use.
        self._sweep.after(rows.save(table), min([now, *given]), min([steady, *given]))
        return results


def _result(call: StoreCall, table: LimitTable, now: int, steady: int) -> Any:
    """A call that fails does not affect the others."""
    try:
        return call.step(table, now, steady) if call.now is None else call.step(table, call.now, call.now)
    except Exception as error:
        return error
