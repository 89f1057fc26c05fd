"""SqliteThread: where a process uses the file of limits, so that its event loop never waits for a disk or a lock."""

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
from crplugins.limits.states import States
from crplugins.limits.store import StoreUnavailable

BUSY_SECONDS: Final = 0.05
"""How long calls wait for other processes."""

_PAUSES: Final = (0.0001, 0.001)
"""Seconds between two tries, at random: SQLite's own busy handler waits ever longer, while others come first."""


class Call(NamedTuple):
    """One of them.

    Attributes:
        step: what it does to the states, given the moment.
        limits, reservations: whose states it needs; reservations by id.
        now: the moment, if it was given.
        answer: where its result goes.
    """

    step: Callable[[States, int], Any]
    limits: Sequence[Limit]
    reservations: Sequence[str]
    now: int | None
    answer: asyncio.Future[Any]

    def rows(self) -> int:
        """How many it may read and write."""
        return len(self.limits) + len(self.reservations)


class Transactions:
    """Those of one connection, in its thread."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], int]) -> None:
        self._connection: Final = connection
        self._clock: Final = clock
        self._sweep: Final = Sweep(connection)

    def carry_out(self, calls: Sequence[Call]) -> list[Any]:
        """Their results or what they have raised, in their order. If anything is raised here, none has happened.

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
                    raise StoreUnavailable("the file of limits is locked by another process") from None
                time.sleep(uniform(*_PAUSES))  # noqa: S311  # nothing depends on nobody guessing it
            else:
                return

    def _results(self, calls: Sequence[Call], rows: Rows) -> list[Any]:
        now = self._clock()  # not before the lock is held: no other process comes between with a later moment
        states = rows.load()
        moments = [now if call.now is None else call.now for call in calls]
        results = [_result(call, states, moment) for call, moment in zip(calls, moments, strict=True)]
        self._sweep.after(rows.save(states), min(now, *moments))  # a moment ahead of time is no reason to forget
        return results


def _result(call: Call, states: States, moment: int) -> Any:
    """One that is wrong is no concern of the others."""
    try:
        return call.step(states, moment)
    except Exception as error:
        return error


OPENING_SECONDS: Final = 5.0
"""How long the start waits for other processes that start too."""

_MOST_ROWS: Final = 512
"""Of one transaction, which others wait for. One call may have more."""


class SqliteThread:
    """Carries out calls in their order; those that have come while others were carried out, together.

    If the file cannot be used any more, the calls are told, and the next ones open it anew.
    """

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self._path: Final = path
        self._clock: Final = clock
        self._calls: Final[SimpleQueue[Call | None]] = SimpleQueue()
        self._transactions: Transactions | None = None
        self._thread: Final = threading.Thread(target=self._run, name="crplugins-limits", daemon=True)
        self._loop = asyncio.get_running_loop()
        self._open: Final = self._loop.create_future()
        self._closed: Final = self._loop.create_future()

    async def start(self) -> None:
        """Raises `LimitFileError`."""
        self._thread.start()
        await self._open

    def submit(self, call: Call) -> None:
        self._calls.put(call)

    async def stop(self) -> None:
        """When all calls have been answered."""
        self._calls.put(None)
        await self._closed

    def _run(self) -> None:
        try:
            self._reopen(patience=OPENING_SECONDS)
        except LimitFileError as error:
            self._tell([self._open], [error])
            return
        self._tell([self._open], [None])
        while calls := self._next():
            self._tell([call.answer for call in calls], self._carry_out(calls))
        self._close()
        self._tell([self._closed], [None])

    def _next(self) -> list[Call]:
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

    def _carry_out(self, calls: Sequence[Call]) -> list[Any]:
        try:
            return self._reopen().carry_out(calls)
        except Exception as error:  # whatever it is, nobody may wait for ever
            if not isinstance(error, StoreUnavailable):
                self._close()
            return [_unavailable(error) for _ in calls]

    def _reopen(self, *, patience: float = BUSY_SECONDS) -> Transactions:
        if self._transactions is None:
            self._transactions = Transactions(open_limit_file(self._path, patience), self._clock)
        return self._transactions

    def _close(self) -> None:
        if self._transactions is not None:
            with suppress(sqlite3.Error):
                self._transactions.close()
            self._transactions = None

    def _tell(self, answers: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_answer, answers, results)


def _unavailable(error: Exception) -> StoreUnavailable:
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(*error.args)  # each call its own, to which its traceback is added
    reason = error.reason if isinstance(error, LimitFileError) else f"cannot be used: {error}"
    return StoreUnavailable(f"the file of limits {reason}")


def _answer(answers: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    """In the event loop. Who has been cancelled meanwhile is told nothing."""
    for answer, result in zip(answers, results, strict=True):
        if answer.done():
            continue
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)
