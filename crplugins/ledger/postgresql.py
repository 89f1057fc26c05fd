"""PostgresqlTables: the tables in PostgreSQL, through SQLAlchemy and asyncpg."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import DateTime, TextClause, bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from crplugins.ledger.errors import LedgerUnreadable, LinesRefused, reason_of
from crplugins.ledger.inserts import DELETE, POSTGRESQL_INSERT
from crplugins.sql.engine import make_engine
from crplugins.sql.url import DatabaseUrl

_DATA_ERRORS: Final = ("22", "23", "54")  # classes of SQLSTATE: data, constraints, limits such as an index entry's size
_INSERT: Final = text(POSTGRESQL_INSERT)
_TRY_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(:lock)")
_LOCK: Final = 0x6372_706C_6B65_6570  # any number, but the same in every version


class PostgresqlTables:
    """Connections for records and connections for questions, so that no question delays a record.

    Methods raise the errors of SQLAlchemy and the driver.
    """

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._engines: dict[str, AsyncEngine] = {}
        self._making = asyncio.Lock()

    async def insert(self, lines: str, patience: float) -> None:
        """Inserts a JSON array of lines in one transaction. Raises `LinesRefused`."""
        engine = await self._engine("records", patience)
        try:
            async with engine.begin() as connection:
                await connection.execute(_INSERT, {"lines": lines})
        except DBAPIError as error:
            if str(getattr(error.orig, "sqlstate", "")).startswith(_DATA_ERRORS):
                raise LinesRefused(reason_of(error)) from error
            raise

    async def fetch(self, statement: str, values: Mapping[str, Any], patience: float) -> list[tuple[Any, ...]]:
        """Raises `LedgerUnreadable` too."""
        engine = await self._engine("questions", patience)
        try:
            async with engine.connect() as connection:
                return [tuple(row) for row in await connection.execute(_with(statement, values))]
        except DBAPIError as error:
            raise LedgerUnreadable(str(error.orig).partition("\n")[0]) from error

    async def delete(self, before: datetime, most: int, patience: float) -> int:
        """The lock ends with the transaction, so that it works behind PgBouncer too."""
        engine = await self._engine("records", patience)
        async with engine.begin() as connection:
            if not (await connection.execute(_TRY_LOCK, {"lock": _LOCK})).scalar():
                return 0
            return (await connection.execute(_with(DELETE, {"before": before, "most": most}))).rowcount

    async def close(self) -> None:
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            await engine.dispose()

    async def _engine(self, purpose: str, patience: float) -> AsyncEngine:
        async with self._making:
            if purpose not in self._engines:
                self._engines[purpose] = await asyncio.to_thread(make_engine, self._url, patience)
            return self._engines[purpose]


def _with(statement: str, values: Mapping[str, Any]) -> TextClause:
    """The statement with its values. A moment has a zone, which SQLAlchemy does not guess."""
    moments = DateTime(timezone=True)
    return text(statement).bindparams(
        *(bindparam(name, value, moments if isinstance(value, datetime) else None) for name, value in values.items())
    )
