"""Copies one ledger into another, as when SQLite has become too small.

Rows go as the lines of a gateway, and are added up there as its own. Of days whose rows have been deleted the sums go.
Done again, it changes nothing: a row that is there is skipped, a row of a day of which the other ledger has deleted
rows is in its sums already, and sums take the place of smaller ones.
"""

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.export import first_day
from crplugins.ledger.inserts import DIMENSIONS, MOMENTS, POSTGRESQL_DAY, SQLITE_DAY, TOKENS, listed
from crplugins.ledger.question import MEASURES
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.retention import SHORTEST
from crplugins.ledger.rows import EVERY_COLUMN, Row, read_rows

_BATCH: Final = 500
_QUARTER: Final = 0.25e-6
"""Seconds. SQLite cuts a moment after the microsecond and PostgreSQL rounds it, and a float may be a little below."""


_SUMS: Final = ("day", *DIMENSIONS, *MEASURES)
_PUT: Final = (
    f"INSERT INTO usage_daily ({listed(_SUMS)}) VALUES ({', '.join(f':{name}' for name in _SUMS)}) "  # noqa: S608
    f"ON CONFLICT ({listed(_SUMS[: 1 + len(DIMENSIONS)])}) DO UPDATE "
    f"SET {', '.join(f'{name} = excluded.{name}' for name in MEASURES)} WHERE usage_daily.requests < excluded.requests"
)


async def copy_rows(reader: LedgerReader, target: LedgerDatabase, until: datetime) -> AsyncIterator[int]:
    """Each number of rows that is in `target` now, where those that were there already are skipped. Makes its tables.

    Raises the errors of `LedgerDatabase.fetch` and of its `insert`.
    """
    await target.prepare()
    counted = await _days_in_sums_alone(target)
    began = EVERY_COLUMN.index("started_at")
    async for rows in read_rows(reader, EVERY_COLUMN, None, until):
        kept = [row for row in rows if row[began].astimezone(UTC).date() not in counted] if counted else rows
        for begin in range(0, len(kept), _BATCH):
            lines = [line_of(row) for row in kept[begin : begin + _BATCH]]
            await target.insert(lines)
            yield len(lines)


async def copy_sums(reader: LedgerReader, target: LedgerDatabase, until: datetime) -> int:
    """Of how many days rows have been deleted: the sums of each, which are in `target` now.

    Rows are deleted from the oldest on, and none that is younger than `SHORTEST`. Raises as `copy_rows`.
    """
    newest = until.astimezone(UTC).date() - SHORTEST
    first = await first_day(reader)
    last = newest if first is None else min(first, newest)
    columns = listed(_SUMS)
    found = await reader.ask(lambda _: (f"SELECT {columns} FROM usage_daily WHERE day <= :last", {"last": last}))  # noqa: S608
    sums = [{**dict(zip(_SUMS, row, strict=True)), "day": _date(row[0])} for row in found]
    for begin in range(0, len(sums), _BATCH):
        await target.write(_PUT, sums[begin : begin + _BATCH])
    return len({each["day"] for each in sums if first is None or each["day"] < first})


async def _days_in_sums_alone(target: LedgerDatabase) -> frozenset[date]:
    """The days of which the other ledger has deleted rows that stand in its sums."""
    day = SQLITE_DAY if target.backend == "sqlite" else POSTGRESQL_DAY
    summed = await target.fetch("SELECT day, sum(requests) FROM usage_daily GROUP BY day", {})
    rows = dict(await target.fetch(f"SELECT {day} AS day, count(*) FROM usage GROUP BY 1", {}))  # noqa: S608
    return frozenset(_date(day) for day, requests in summed if requests > rows.get(day, 0))


def _date(day: date | str) -> date:
    return date.fromisoformat(day) if isinstance(day, str) else day


def line_of(row: Row) -> bytes:
    """The line of a row with the values of EVERY_COLUMN, as `encode` makes it of the record."""
    values: dict[str, Any] = dict(zip(EVERY_COLUMN, row, strict=True))
    values |= {name: values[name].timestamp() + _QUARTER for name in MOMENTS}
    usage = {name: values.pop(name) for name in TOKENS}
    return msgspec.json.encode({**values, "tags": json.loads(values["tags"]), "usage": usage})
