"""Spool: lines that wait on disk for the database.

Spool is for the event loop and runs SpoolFile, a SQLite file, in a thread of its own. It also opens the journal of this
process, and takes over those of processes that have died.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from crplugins.ledger.journal import Journal, adopt_dead_journals

_TIMEOUT: Final = 5.0
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS spooled (id INTEGER PRIMARY KEY AUTOINCREMENT, line TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS refused (id INTEGER PRIMARY KEY, reason TEXT NOT NULL, line TEXT NOT NULL)",
)
T = TypeVar("T")


class SpoolUnusable(Exception):
    """A file of the spool cannot be used. The text names it, and says why."""


class Spool:
    """The spool file and the journals beside it. Methods raise `sqlite3.Error` and OSError.

    Attributes:
        count: how many lines wait, as far as this process knows.
        filled: set while there are some.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.filled: Final = asyncio.Event()
        self._count = 0
        self._file = SpoolFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="crplugins-spool")

    @property
    def count(self) -> int:
        return self._count

    async def open(self) -> Journal:
        """A journal for this process, after the lines of dead processes' journals have been moved to the spool.

        Raises `SpoolUnusable`.
        """
        journal, count = await self._run(self._open)
        self._set_count(count)
        return journal

    async def keep(self, lines: Sequence[bytes]) -> None:
        """Returns when the lines are on disk."""
        self._set_count(await self._run(lambda: self._file.keep(lines)))

    async def oldest(self, number: int) -> list[tuple[int, bytes]]:
        return await self._run(lambda: self._file.oldest(number))

    async def delete(self, ids: Sequence[int]) -> None:
        self._set_count(await self._run(lambda: self._file.delete(ids)))

    async def quarantine(self, line: bytes, reason: str) -> None:
        await self._run(lambda: self._file.quarantine(line, reason))

    async def close(self, journal: Journal) -> None:
        """Closes the file and the journal, which is deleted unless it has lines that are nowhere else."""
        await self._run(lambda: self._close(journal))
        self._thread.shutdown(wait=False)

    def _set_count(self, count: int) -> None:
        self._count = count
        if count:
            self.filled.set()
        else:
            self.filled.clear()

    def _open(self) -> tuple[Journal, int]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            journal = Journal.create(self.path)
        except OSError as error:
            reason = f"the journal of usage records cannot be created beside {self.path}: {error.strerror}"
            raise SpoolUnusable(reason) from error
        try:
            adopt_dead_journals(self.path, self._file.keep)
            return journal, self._file.count()
        except (OSError, sqlite3.Error) as error:
            journal.close()
            raise SpoolUnusable(f"the spool {self.path} {_reason(error)}") from error

    def _close(self, journal: Journal) -> None:
        journal.close()
        self._file.close()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _reason(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return f"cannot be used: {error.strerror}"
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "is damaged or no spool: move it away with its -wal and -shm, and a new one is created"
    return f"cannot be used: {error}"


class SpoolFile:
    """A SQLite file, created by the first line that is kept. Methods block and raise `sqlite3.Error`.

    For one thread at a time. The table `refused` holds quarantined lines.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._connection: sqlite3.Connection | None = None

    def keep(self, lines: Iterable[bytes]) -> int:
        """Returns the number of spooled lines, when these are durable."""
        with self._writing() as connection:
            connection.executemany("INSERT INTO spooled (line) VALUES (?)", [(line.decode(),) for line in lines])
        return self.count()

    def oldest(self, number: int) -> list[tuple[int, bytes]]:
        """At most `number` lines with their ids."""
        if not self._exists():
            return []
        rows = self._opened().execute("SELECT id, line FROM spooled ORDER BY id LIMIT ?", (number,))
        return [(row_id, line.encode()) for row_id, line in rows]

    def delete(self, ids: Sequence[int]) -> int:
        """Deletes lines that are in the database. Returns the number of those that remain."""
        with self._writing() as connection:
            connection.executemany("DELETE FROM spooled WHERE id = ?", [(row_id,) for row_id in ids])
        return self.count()

    def quarantine(self, line: bytes, reason: str) -> None:
        """Keeps a line that the database will never take, for an operator."""
        with self._writing() as connection:
            connection.execute("INSERT INTO refused (reason, line) VALUES (?, ?)", (reason, line.decode()))

    def count(self) -> int:
        """The number of spooled lines. It needs no scan: they are deleted in the order in which they were added."""
        if not self._exists():
            return 0
        row = self._opened().execute("SELECT max(id) - min(id) + 1 FROM spooled").fetchone()
        return row[0] or 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exists(self) -> bool:
        return self._connection is not None or self.path.exists()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self.path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                for table in _TABLES:
                    connection.execute(table)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection
