"""Calls of a store, carried out together in one transaction."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from random import uniform
from typing import Any, Final, NamedTuple

from crplugins.limits.limit import Limit
from crplugins.limits.sqlite_file import is_busy
from crplugins.limits.sqlite_rows import Rows
from crplugins.limits.sqlite_sweep import Sweep
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
