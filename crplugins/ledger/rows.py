"""The rows of the ledger in the order in which the requests began, a slice at a time, so that any number fits."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from crplugins.ledger.inserts import COLUMNS, MOMENTS, listed
from crplugins.ledger.reader import LedgerReader

SLICE: Final = 5_000
"""Rows that are read at once: a few megabytes."""

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ORDER: Final = ("started_at", "request_id")

Row = tuple[Any, ...]


async def read_rows(
    reader: LedgerReader, columns: Sequence[str], since: datetime | None, until: datetime, size: int = SLICE
) -> AsyncIterator[list[Row]]:
    """Slices of the requests that began at `since` or later and before `until`, both with a zone.

    Each has the values of `columns`, which begin with `started_at` and `request_id`: moments in UTC, `stream` as a
    bool, `tags` as JSON. A record that is added meanwhile is found if its request began after what was read already.
    Raises the errors of `LedgerDatabase.fetch`.
    """
    if tuple(columns[:2]) != _ORDER:
        raise ValueError("the first columns are those of the order")
    readers = [_READERS.get(name, _as_it_is) for name in columns]
    at, last = since or BEGINNING, ""
    while True:
        found = await reader.ask(partial(_statement, columns, size, {"at": at, "last": last, "until": until}))
        rows = [tuple([read(value) for read, value in zip(readers, row, strict=True)]) for row in found]
        if rows:
            yield rows
        if len(rows) < size:
            return
        at, last = rows[-1][:2]


def _statement(
    columns: Sequence[str], size: int, values: Mapping[str, Any], waiting: str | None
) -> tuple[str, Mapping[str, Any]]:
    """Each table gives what comes first in it, and of those the first are taken: neither is sorted as a whole."""
    committed = _part(columns, "usage", size)
    if waiting is None:
        return committed, values
    both = (
        f"SELECT * FROM ({committed}) AS committed UNION ALL SELECT * FROM ({_part(columns, waiting, size)}) AS other"  # noqa: S608
    )
    return f"SELECT * FROM ({both}) AS slices {_ordered(size)}", values  # noqa: S608


def _part(columns: Sequence[str], table: str, size: int) -> str:
    """`started_at >= :at` says nothing new, but lets every planner begin in the index."""
    behind = "started_at >= :at AND (started_at > :at OR request_id > :last) AND started_at < :until"
    return f"SELECT {listed(columns)} FROM {table} WHERE {behind} {_ordered(size)}"  # noqa: S608  # all words are ours


def _ordered(size: int) -> str:
    return f"ORDER BY {', '.join(_ORDER)} LIMIT {size}"


def _as_it_is(value: Any) -> Any:
    return value


def _moment(value: Any) -> datetime:
    """SQLite keeps a text without a zone."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _json(value: Any) -> Any:
    """PostgreSQL's driver has decoded it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {**dict.fromkeys(MOMENTS, _moment), "stream": bool, "tags": _json}

EVERY_COLUMN: Final = (*_ORDER, *(name for name in COLUMNS if name not in _ORDER))
