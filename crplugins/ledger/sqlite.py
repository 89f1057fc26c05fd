"""SqliteTables: the tables in a file of SQLite, through the driver of the standard library in threads of its own."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any, Final, TypeVar

from crplugins.ledger.errors import LedgerUnreadable, LinesRefused, reason_of
from crplugins.ledger.inserts import DELETE, SQLITE_ADD_UP, SQLITE_NEWEST, sqlite_insert
from crplugins.ledger.line_values import rows_of
from crplugins.sql.url import DatabaseUrl

READERS: Final = 4
"""Questions that are answered at the same time."""

_DATA_ERRORS: Final = ("constraint failed",)

_AT_ONCE: Final = 50
"""Rows of one statement. After each statement the thread has to wait for the interpreter again, and the loop for it."""

_INSERT: Final = sqlite_insert(_AT_ONCE)
_INSERT_ONE: Final = sqlite_insert(1)

T = TypeVar("T")


class SqliteTables:
    """One connection writes; each question has a connection of its own. Methods raise `sqlite3.Error`."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._cursor: sqlite3.Cursor | None = None  # one for all: a connection remembers up to 200 that are gone
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="crplugins-ledger")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="crplugins-report")

    async def insert(self, lines: Sequence[bytes], patience: float) -> None:
        """Inserts lines in one transaction, which is on the disk when this returns.

        `patience` in seconds is for the lock of the file. Raises `LinesRefused`.
        """
        await _run(self._writer, lambda: self._insert(lines, patience))

    async def fetch(self, statement: str, values: Mapping[str, Any], patience: float) -> list[tuple[Any, ...]]:
        """Raises `LedgerUnreadable`."""
        moments = {name: _text(value) for name, value in values.items()}
        return await _run(self._readers, lambda: self._fetch(statement, moments, patience))

    async def write(self, statement: str, rows: Sequence[Mapping[str, Any]], patience: float) -> None:
        texts = [{name: _text(value) for name, value in row.items()} for row in rows]
        await _run(self._writer, lambda: self._write(statement, texts, patience))

    async def delete(self, before: datetime, most: int, patience: float) -> int:
        return await _run(self._writer, lambda: self._delete({"before": _text(before), "most": most}, patience))

    async def drop_month(self, before: datetime, patience: float) -> str | None:  # noqa: ARG002
        """There are none."""
        return None

    async def close(self) -> None:
        await _run(self._writer, self._disconnect)
        for threads in (self._writer, self._readers):
            threads.shutdown(wait=False)

    def _insert(self, lines: Sequence[bytes], patience: float) -> None:
        try:
            rows = rows_of(lines)
        except ValueError as error:
            raise LinesRefused(reason_of(error)) from error
        cursor = self._connected(patience)
        try:
            cursor.execute("BEGIN IMMEDIATE")
            newest = cursor.execute(SQLITE_NEWEST).fetchone()[0]
            whole = len(rows) - len(rows) % _AT_ONCE
            for start in range(0, whole, _AT_ONCE):
                cursor.execute(_INSERT, [*chain.from_iterable(rows[start : start + _AT_ONCE])])
            cursor.executemany(_INSERT_ONE, rows[whole:])
            cursor.execute(SQLITE_ADD_UP, {"newest": newest})
            cursor.execute("COMMIT")
        except BaseException as error:
            self._disconnect()  # which rolls back; the next attempt finds the file as it is then
            if isinstance(error, Exception) and _is_of_data(error):
                raise LinesRefused(reason_of(error)) from error
            raise

    def _write(self, statement: str, rows: Sequence[Mapping[str, Any]], patience: float) -> None:
        cursor = self._connected(patience)
        try:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(statement, rows)
            cursor.execute("COMMIT")
        except BaseException:
            self._disconnect()  # which rolls back
            raise

    def _delete(self, values: Mapping[str, Any], patience: float) -> int:
        cursor = self._connected(patience)
        try:
            return cursor.execute(DELETE, values).rowcount
        except BaseException:
            self._disconnect()
            raise

    def _fetch(self, statement: str, values: Mapping[str, Any], patience: float) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(**self._url.sqlite_arguments(), timeout=patience)) as connection:
                rows: list[tuple[Any, ...]] = connection.execute(statement, values).fetchall()
                return rows
        except sqlite3.Error as error:
            raise LedgerUnreadable(str(error)) from error

    def _connected(self, patience: float) -> sqlite3.Cursor:
        if self._cursor is None:
            arguments = self._url.sqlite_arguments()
            connection = sqlite3.connect(**arguments, timeout=patience, isolation_level=None, check_same_thread=False)
            self._cursor = connection.cursor()
            self._cursor.execute("PRAGMA journal_mode=WAL")
            self._cursor.execute("PRAGMA synchronous=FULL")
        return self._cursor

    def _disconnect(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            connection = cursor.connection
            cursor.close()  # else its statement holds the lock for as long as somebody has the error
            connection.close()


def _is_of_data(error: Exception) -> bool:
    """A number of more than 64 bits is an OverflowError."""
    return isinstance(error, OverflowError) or any(words in str(error) for words in _DATA_ERRORS)


def _text(value: Any) -> Any:
    """A moment or a day as it stands in the tables, which have no zones; other values unchanged."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    return value.isoformat() if isinstance(value, date) else value


async def _run(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)
