"""LedgerDatabase: inserts lines into the tables, and gives queries connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from crplugins.ledger.inserts import insert_into_postgresql, insert_into_sqlite
from crplugins.sql.engine import WRITES, make_engine
from crplugins.sql.migrate import migrate
from crplugins.sql.url import DatabaseUrl, read_database_url

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "usage_schema"
TIMEOUT: Final = 5.0
"""Seconds for a connection and for a statement."""

READING_TIMEOUT: Final = 60.0
"""The same for queries, which may go through millions of rows."""

_LOCK: Final = 0x6372_706C_6564_6700  # any number, but the same in every version
_DATA_ERRORS: Final = ("22", "23", "54")  # classes of SQLSTATE: data, constraints, limits such as an index entry's size
_INSERTS: Final = {"sqlite": insert_into_sqlite, "postgresql": insert_into_postgresql}


class LinesRefused(Exception):
    """The database works and will never take these lines: one or more of them are not valid records."""


class LedgerDatabase:
    """SQLite or PostgreSQL. `insert` migrates the tables to the newest schema before the first line, unless `migrate`
    is False.

    Raises ValueError for an invalid URL, ImportError without its driver. Methods raise the errors of SQLAlchemy and the
    drivers.
    """

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        self.url: Final[DatabaseUrl] = read_database_url(url)
        self.url.import_driver()
        self._insert = _INSERTS[self.url.backend]
        self._migrates = migrate
        self._engine: AsyncEngine | None = None
        self._reading: AsyncEngine | None = None
        self._preparing = asyncio.Lock()

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for PostgreSQL."""
        return self.url.file

    async def prepare(self) -> AsyncEngine:
        """The engine. The first call migrates the tables and makes it."""
        async with self._preparing:
            if self._migrates:
                await migrate(self.url, MIGRATIONS, VERSION_TABLE, _LOCK, patience=2 * TIMEOUT)
                self._migrates = False
            if self._engine is None:
                self._engine = await asyncio.to_thread(make_engine, self.url, TIMEOUT)
            return self._engine

    async def insert(self, lines: Sequence[bytes]) -> None:
        """Inserts in one transaction; a record that is there already is skipped. Raises `LinesRefused`."""
        writing = (await self.prepare()).execution_options(**{WRITES: True})
        text = b"[" + b",".join(lines) + b"]"
        try:
            async with asyncio.timeout(2 * TIMEOUT), writing.begin() as connection:
                await self._insert(connection, text.decode())
        except DBAPIError as error:
            if _is_about_the_data(error):
                raise LinesRefused(reason_of(error)) from error
            raise

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for queries, from a pool of its own, so that no query delays `insert`. Migrates nothing."""
        async with self._preparing:
            if self._reading is None:
                self._reading = await asyncio.to_thread(make_engine, self.url, READING_TIMEOUT)
        async with self._reading.connect() as connection:
            yield connection

    async def close(self) -> None:
        engines = (self._engine, self._reading)
        self._engine = self._reading = None
        for engine in engines:
            if engine is not None:
                await engine.dispose()

    def __repr__(self) -> str:
        return f"LedgerDatabase({str(self.url)!r})"


def reason_of(error: BaseException) -> str:
    """The first line of the error. SQLAlchemy puts the statement into the following ones."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _is_about_the_data(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_DATA_ERRORS)
    return "constraint failed" in str(error.orig) or "malformed JSON" in str(error.orig)
