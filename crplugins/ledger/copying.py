"""Copies the rows of one ledger into another, as when SQLite has become too small: as the lines of a gateway."""

import json
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any, Final

import msgspec

from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.inserts import MOMENTS, TOKENS
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.rows import EVERY_COLUMN, Row, read_rows

_BATCH: Final = 500
_QUARTER: Final = 0.25e-6
"""Seconds. SQLite cuts a moment behind the microsecond and PostgreSQL rounds it, and a float may be a little below."""


async def copy_rows(reader: LedgerReader, target: LedgerDatabase, until: datetime) -> AsyncIterator[int]:
    """Each number of rows that is in `target` now, where those that were there already are skipped. Makes its tables.

    Raises the errors of `LedgerDatabase.fetch` and of its `insert`.
    """
    await target.prepare()
    async for rows in read_rows(reader, EVERY_COLUMN, None, until):
        for begin in range(0, len(rows), _BATCH):
            lines = [line_of(row) for row in rows[begin : begin + _BATCH]]
            await target.insert(lines)
            yield len(lines)


async def days_without_rows(reader: LedgerReader, first: date | None) -> int:
    """Of how many days before the first row there are sums alone, because their rows have been deleted."""
    before = "" if first is None else " WHERE day < :first"
    values = {} if first is None else {"first": first}
    found = await reader.ask(lambda _: (f"SELECT count(DISTINCT day) FROM usage_daily{before}", values))  # noqa: S608
    return int(found[0][0])


def line_of(row: Row) -> bytes:
    """The line of a row with the values of EVERY_COLUMN, as `encode` makes it of the record."""
    values: dict[str, Any] = dict(zip(EVERY_COLUMN, row, strict=True))
    values |= {name: values[name].timestamp() + _QUARTER for name in MOMENTS}
    usage = {name: values.pop(name) for name in TOKENS}
    return msgspec.json.encode({**values, "tags": json.loads(values["tags"]), "usage": usage})
