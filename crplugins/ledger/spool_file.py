"""SpoolFile: lines on disk that a database could not take, until it can. A SQLite file that several processes share."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TIMEOUT: Final = 5.0
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS spooled (id INTEGER PRIMARY KEY AUTOINCREMENT, line TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS refused (id INTEGER PRIMARY KEY, reason TEXT NOT NULL, line TEXT NOT NULL)",
)


class SpoolFile:
    """Made by the first line that is kept. Methods block, raise `sqlite3.Error`, and are for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._connection: sqlite3.Connection | None = None

    def keep(self, lines: Iterable[bytes]) -> int:
        """Durable when it returns. How many there are now."""
        with self._writing() as connection:
            connection.executemany("INSERT INTO spooled (line) VALUES (?)", [(line.decode(),) for line in lines])
        return self.count()

    def oldest(self, number: int) -> list[tuple[int, bytes]]:
        """At most `number` lines with their ids."""
        if not self._exists():
            return []
        rows = self._opened().execute("SELECT id, line FROM spooled ORDER BY id LIMIT ?", (number,))
        return [(row_id, line.encode()) for row_id, line in rows]

    def forget(self, ids: Sequence[int]) -> int:
        """These are in the database. How many are left."""
        with self._writing() as connection:
            connection.executemany("DELETE FROM spooled WHERE id = ?", [(row_id,) for row_id in ids])
        return self.count()

    def refuse(self, line: bytes, reason: str) -> None:
        """Keeps a line that no database takes, for a person to look at."""
        with self._writing() as connection:
            connection.execute("INSERT INTO refused (reason, line) VALUES (?, ?)", (reason, line.decode()))

    def count(self) -> int:
        """Of spooled lines. Without looking at each: lines go in the order in which they came."""
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
