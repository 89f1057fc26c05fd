"""PostgresqlTables: the tables in PostgreSQL, through SQLAlchemy and asyncpg."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import DateTime, TextClause, bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from crplugins.ledger.errors import LedgerUnreadable, LinesRefused, reason_of
from crplugins.ledger.inserts import DELETE, POSTGRESQL_INSERT
from crplugins.ledger.partitions import BUSY, CUTOVER, drop_month, make_months, midnight, month_after, month_of
from crplugins.sql.engine import make_engine
from crplugins.sql.url import DatabaseUrl

_DATA_ERRORS: Final = ("22", "23", "54")  # classes of SQLSTATE: data, constraints, limits such as an index entry's size
_INSERT: Final = text(POSTGRESQL_INSERT)
_TRY_LOCK: Final = text("SELECT pg_try_advisory_xact_lock(:lock)")
_LOCK: Final = 0x6372_706C_6B65_6570  # any number, but the same in every version

_NO_PLACE: Final = "23514"  # of a constraint, or of partitions none of which is for the row
_ATTEMPTS: Final = 20
_LONGEST_REST: Final = 5.0
"""Seconds between two attempts to drop a month."""

_RETRY_SECONDS: Final = 3600.0
"""Until the next attempt to make months ahead of time."""

logger = logging.getLogger("crplugins.ledger")


class _Began(msgspec.Struct):
    started_at: Any = None


_decode_began: Final = msgspec.json.Decoder(list[_Began]).decode


class PostgresqlTables:
    """Connections for records and connections for questions, so that no question delays a record.

    Methods raise the errors of SQLAlchemy and the driver. `now` is the wall clock, in seconds.
    """

    def __init__(self, url: DatabaseUrl, *, now: Callable[[], float] = time.time) -> None:
        self._url, self._now = url, now
        self._engines: dict[str, AsyncEngine] = {}
        self._making = asyncio.Lock()
        self._look_ahead_at = float("-inf")  # when months are to be made again

    async def insert(self, lines: Sequence[bytes], patience: float) -> None:
        """Inserts lines in one transaction. Makes their months if need be. Raises `LinesRefused`."""
        engine = await self._engine("records", patience)
        await self._look_ahead(engine)
        try:
            await _insert(engine, (b"[" + b",".join(lines) + b"]").decode())
        except DBAPIError as error:
            state = _state_of(error)
            if state.startswith(_DATA_ERRORS) and _constraint_of(error) != CUTOVER:
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

    async def write(self, statement: str, rows: Sequence[Mapping[str, Any]], patience: float) -> None:
        engine = await self._engine("records", patience)
        async with engine.begin() as connection:
            await connection.execute(text(statement), list(rows))

    async def delete(self, before: datetime, most: int, patience: float) -> int:
        """The lock ends with the transaction, so that it works behind PgBouncer too."""
        engine = await self._engine("records", patience)
        async with engine.begin() as connection:
            if not (await connection.execute(_TRY_LOCK, {"lock": _LOCK})).scalar():
                return 0
            return (await connection.execute(_with(DELETE, {"before": before, "most": most}))).rowcount

    async def drop_month(self, before: datetime, patience: float) -> str | None:
        """A question that is being answered delays it; it makes nobody else wait, and raises if that lasts."""
        engine = await self._engine("records", patience)
        for attempt in range(_ATTEMPTS):
            try:
                async with engine.begin() as connection:
                    if not (await connection.execute(_TRY_LOCK, {"lock": _LOCK})).scalar():
                        return None
                    return await drop_month(connection, before)
            except DBAPIError as error:
                if _state_of(error) != BUSY or attempt == _ATTEMPTS - 1:
                    raise
            await asyncio.sleep(random.random() * _LONGEST_REST)  # noqa: S311  # no secret
        return None

    async def close(self) -> None:
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            await engine.dispose()

    async def _look_ahead(self, engine: AsyncEngine) -> None:
        """Makes this month and the next, at the first record of a process and of a month. Fails no record: the month of
        that one may be there.
        """
        if self._now() < self._look_ahead_at:
            return
        month = month_of(datetime.fromtimestamp(self._now(), UTC))
        next_month = midnight(month_after(month)).timestamp()
        try:
            async with engine.begin() as connection:
                await make_months(connection, [month, month_after(month)])
        except DBAPIError as error:
            logger.warning("the ledger's next month could not be made: %s", reason_of(error))
            self._look_ahead_at = min(next_month, self._now() + _RETRY_SECONDS)
        else:
            self._look_ahead_at = next_month

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


async def _insert(engine: AsyncEngine, lines: str) -> None:
    """Inserts a JSON array of lines in one transaction. Where a month is not there for a row, it is made, and the lines
    are inserted anew."""
    try:
        async with engine.begin() as connection:
            await connection.execute(_INSERT, {"lines": lines})
    except DBAPIError as error:
        if _state_of(error) != _NO_PLACE:
            raise
        async with engine.begin() as connection:
            await make_months(connection, _months_of(lines))
            await connection.execute(_INSERT, {"lines": lines})


def _state_of(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", ""))


def _constraint_of(error: DBAPIError) -> str | None:
    """SQLAlchemy's error has the driver's as its cause."""
    return getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)


def _months_of(lines: str) -> Collection[date]:
    """Of the requests in a JSON array of lines. The months of moments that no calendar has are left out."""
    months = set()
    for line in _decode_began(lines):
        try:
            month = month_of(datetime.fromtimestamp(line.started_at, UTC))
            month_after(month)
        except (TypeError, ValueError, OverflowError, OSError):
            continue
        months.add(month)
    return months
