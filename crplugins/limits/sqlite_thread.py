"""SqliteThread: where a process uses the file of limits, so that its event loop never waits for a disk or a lock."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from crplugins.limits.sqlite_calls import Call, Transactions
from crplugins.limits.sqlite_file import LimitFileError, open_limit_file
from crplugins.limits.store import StoreUnavailable

_MOST_ROWS: Final = 512
"""Of one transaction, which others wait for. One call may have more."""


class SqliteThread:
    """Carries out calls in their order; those that have come while others were carried out, together.

    What goes wrong with the file later is told the calls; each tries to open it again.
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
            self._reopen()
        except LimitFileError as error:
            self._tell([self._open], error)
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

    def _carry_out(self, calls: Sequence[Call]) -> list[Any] | Exception:
        try:
            return self._reopen().carry_out(calls)
        except (LimitFileError, sqlite3.Error) as error:
            self._close()
            return StoreUnavailable(f"the file of limits cannot be used: {error}")
        except Exception as error:  # of the calls themselves, or `StoreUnavailable`
            return error

    def _reopen(self) -> Transactions:
        if self._transactions is None:
            self._transactions = Transactions(open_limit_file(self._path), self._clock)
        return self._transactions

    def _close(self) -> None:
        if self._transactions is not None:
            with suppress(sqlite3.Error):
                self._transactions.close()
            self._transactions = None

    def _tell(self, answers: Sequence[asyncio.Future[Any]], results: Sequence[Any] | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_answer, answers, results)


def _answer(answers: Sequence[asyncio.Future[Any]], results: Sequence[Any] | Exception) -> None:
    """In the event loop. Who has been cancelled meanwhile is told nothing."""
    for index, answer in enumerate(answers):
        if answer.done():
            continue
        if isinstance(results, Exception):
            answer.set_exception(results)
        else:
            answer.set_result(results[index])
