"""LedgerDatabase: migrates the tables, inserts lines into them, and answers questions from them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from crplugins.ledger.sqlite import SqliteTables
from crplugins.sql.migrate import migrate
from crplugins.sql.url import Backend, DatabaseUrl, read_database_url

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSION_TABLE: Final = "usage_schema"
TIMEOUT: Final = 5.0
"""Seconds for a connection and for a statement."""

READING_TIMEOUT: Final = 60.0
"""The same for queries, which may go through millions of rows."""

_LOCK: Final = 0x6372_706C_6564_6700  # any number, but the same in every version


class Tables(Protocol):
    """The tables of one kind of database, which may not have been migrated yet. `patience` is in seconds."""

    async def insert(self, lines: Sequence[bytes], patience: float) -> None: ...

    async def fetch(self, statement: str, values: Mapping[str, Any], patience: float) -> list[tuple[Any, ...]]: ...

    async def write(self, statement: str, rows: Sequence[Mapping[str, Any]], patience: float) -> None: ...

    async def delete(self, before: datetime, most: int, patience: float) -> int: ...

    async def drop_month(self, before: datetime, patience: float) -> str | None: ...

    async def close(self) -> None: ...


class LedgerDatabase:
    """SQLite or PostgreSQL. `insert` migrates the tables to the newest schema before the first line, unless `migrate`
    is False.

    Raises ValueError for an invalid URL, ImportError without its packages. Methods raise the errors of the drivers.
    """

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        self.url: Final[DatabaseUrl] = read_database_url(url)
        self.url.import_driver()
        self._tables = _tables(self.url)
        self._migrates = migrate
        self._preparing = asyncio.Lock()

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for PostgreSQL."""
        return self.url.file

    @property
    def backend(self) -> Backend:
        return self.url.backend

    async def prepare(self) -> None:
        """The first call migrates the tables."""
        async with self._preparing:
            if self._migrates:
                await migrate(self.url, MIGRATIONS, VERSION_TABLE, _LOCK, patience=2 * TIMEOUT)
                self._migrates = False

    async def insert(self, lines: Sequence[bytes]) -> None:
        """Inserts in one transaction; a record that is there already is skipped. Raises `LinesRefused`."""
        await self.prepare()
        async with asyncio.timeout(2 * TIMEOUT):
            await self._tables.insert(lines, TIMEOUT)

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a SELECT with `:names` for its values. Migrates nothing, and delays no `insert`.

        Raises `LedgerUnreadable`, or the operating system's errors where there is no server.
        """
        return await self._tables.fetch(statement, values, READING_TIMEOUT)

    async def write(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A statement with `:names` for each of the rows, in one transaction. The tables are there."""
        async with asyncio.timeout(2 * TIMEOUT):
            await self._tables.write(statement, rows, TIMEOUT)

    async def now(self) -> datetime | None:
        """By the clock of the server; None of SQLite, which has no other clock than this machine's."""
        if self.backend == "sqlite":
            return None
        ((now,),) = await self.fetch("SELECT now()", {})
        return cast("datetime", now)

    async def delete(self, before: datetime, most: int) -> int:
        """Deletes the oldest rows that began before this moment, so many at most, in one transaction. Returns how many;
        0 on PostgreSQL, too, where another process is at it."""
        async with asyncio.timeout(2 * TIMEOUT):
            return await self._tables.delete(before, most, TIMEOUT)

    async def drop_month(self, before: datetime) -> str | None:
        """Drops the oldest of the months of PostgreSQL all of whose rows began before this moment. Returns its name;
        None where there is none, or another process is at it."""
        return await self._tables.drop_month(before, TIMEOUT)

    @asynccontextmanager
    async def reading(self) -> "AsyncIterator[AsyncConnection]":
        """A connection of SQLAlchemy's, for queries of somebody else's than the reports. Migrates nothing."""
        engine = await asyncio.to_thread(_make_engine, self.url)
        try:
            async with engine.connect() as connection:
                yield connection
        finally:
            await engine.dispose()

    async def close(self) -> None:
        await self._tables.close()

    def __repr__(self) -> str:
        return f"LedgerDatabase({str(self.url)!r})"


def _make_engine(url: DatabaseUrl) -> "AsyncEngine":
    from crplugins.sql.engine import make_engine  # SQLAlchemy, which nothing else needs for SQLite

    return make_engine(url, READING_TIMEOUT)


def _tables(url: DatabaseUrl) -> Tables:
    if url.backend == "sqlite":
        return SqliteTables(url)
    from crplugins.ledger.postgresql import PostgresqlTables  # SQLAlchemy and asyncpg, needed only here

    return PostgresqlTables(url)
