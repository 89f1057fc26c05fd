"""The SQL that inserts records into `usage`, and adds those that are new to the sums of their day in `usage_daily`.

It is text, because a gateway that keeps a ledger in SQLite needs no SQLAlchemy. Every name in it is one of ours, and
every value comes as a parameter: `:lines` is a JSON array of lines (`encoding`). `SQLITE_ROWS` and `POSTGRESQL_ROWS`
read that array as rows of `usage`, also for reports. `sqlite_insert` has the values of its rows from `line_values`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from crplugins.ledger.question import MEASURES

DIMENSIONS: Final = ("key_id", "team", "requested_model", "served_model", "provider")
"""The columns by which, besides the day, `usage_daily` is grouped."""

TOKENS: Final = tuple(name for name in MEASURES if name.endswith("_tokens"))

MOMENTS: Final = ("started_at", "ended_at")

COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "request_id": "text", "started_at": "double precision", "ended_at": "double precision", "key_id": "text",
        "team": "text", "user": "text", "requested_model": "text", "served_model": "text", "provider": "text",
        "stream": "boolean", "status": "integer", "outcome": "text", "error_type": "text", "finish_reason": "text",
        **dict.fromkeys(TOKENS, "bigint"), "usage_source": "text", "cost_micro_usd": "bigint", "attempts": "integer",
        "ttft_ms": "double precision", "duration_ms": "double precision", "overhead_us": "bigint", "tags": "jsonb",
        "provider_model": "text", "service_tier": "text", "cost_source": "text", "provider_cost_micro_usd": "bigint",
        **dict.fromkeys(("asked_ms", "queued_ms", "admitted_ms", "settled_ms"), "double precision"),
        "expected_input_tokens": "bigint", "output_limit": "bigint", "choices": "integer", "endpoint": "text",
    }
)  # fmt: skip
"""The columns of `usage`, and PostgreSQL's types for the values of a line: moments are seconds there."""

SUMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "requests": "count(*)",
        "errors": "sum(CASE WHEN outcome IN ('ok', 'cancelled') THEN 0 ELSE 1 END)",
        **{name: f"sum(CASE WHEN usage_source = 'cache' THEN 0 ELSE {name} END)" for name in TOKENS},
        "cost_micro_usd": "coalesce(sum(cost_micro_usd), 0)",
        "unpriced_requests": "sum(CASE WHEN cost_micro_usd IS NULL THEN 1 ELSE 0 END)",
        "estimated_requests": "sum(CASE WHEN usage_source = 'estimated' THEN 1 ELSE 0 END)",
        "provider_cost_micro_usd": "coalesce(sum(provider_cost_micro_usd), 0)",
    }
)
"""How each of MEASURES is summed up over rows of `usage`. Tokens from a cache are no provider's."""

SQLITE_DAY: Final = "date(started_at)"
POSTGRESQL_DAY: Final = "CAST(timezone('UTC', started_at) AS date)"


def listed(names: Sequence[str], prefix: str = "") -> str:
    """Names of columns with commas between. Quoted, because `user` is a word of SQL's."""
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _moment(seconds: str) -> str:
    """The text of SQLAlchemy's DateTime, to the microsecond. Such texts sort by time."""
    whole = f"CAST({seconds} AS INTEGER)"
    microseconds = f"CAST(({seconds} - {whole}) * 1000000 AS INTEGER)"
    return f"strftime('%Y-%m-%d %H:%M:%S', {whole}, 'unixepoch') || printf('.%06d', {microseconds})"


def _sqlite_value(name: str) -> str:
    value = f"json_extract(value, '$.{'usage.' if name in TOKENS else ''}{name}')"
    return _moment(value) if name in MOMENTS else value


def _postgresql_value(name: str) -> str:
    if name in TOKENS:
        return f"CAST(usage ->> '{name}' AS bigint)"
    return f"to_timestamp({name})" if name in MOMENTS else f'"{name}"'


# LIMIT -1 limits nothing, but keeps SQLite from merging the subquery: merged, it would make each line anew for each
# column.
SQLITE_ROWS: Final = (
    f"SELECT {', '.join(f'{_sqlite_value(name)} AS {listed([name])}' for name in COLUMNS)} "  # noqa: S608
    "FROM (SELECT value FROM json_each(:lines) LIMIT -1 OFFSET 0) AS line WHERE true"
)

_FIELDS: Final = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items() if name not in TOKENS)
POSTGRESQL_ROWS: Final = (
    f"SELECT {', '.join(f'{_postgresql_value(name)} AS {listed([name])}' for name in COLUMNS)} "  # noqa: S608
    f"FROM json_to_recordset(CAST(CAST(:lines AS text) AS json)) AS line({_FIELDS}, usage json)"
)


def _add_up(rows: str, day: str) -> str:
    """Adds rows of `usage` to the sums of their days.

    In the order of the primary key, so that two processes lock rows in the same order.
    """
    key = ("day", *DIMENSIONS)
    dimensions = ", ".join(f"coalesce({name}, '')" for name in DIMENSIONS)
    added = ", ".join(f"{name} = usage_daily.{name} + excluded.{name}" for name in MEASURES)
    places = ", ".join(str(place + 1) for place in range(len(key)))
    return (
        f"INSERT INTO usage_daily ({listed((*key, *MEASURES))}) "  # noqa: S608
        f"SELECT {day}, {dimensions}, {', '.join(SUMS[name] for name in MEASURES)} "
        f"FROM {rows} GROUP BY {places} ORDER BY {places} "
        f"ON CONFLICT ({listed(key)}) DO UPDATE SET {added}"
    )


# In a transaction that holds SQLite's write lock, all rows after the newest are this process's own.
SQLITE_NEWEST: Final = "SELECT coalesce(max(rowid), 0) FROM usage"


def sqlite_insert(rows: int) -> str:
    """Inserts so many rows, whose values come one after the other (`line_values`)."""
    row = f"({', '.join('?' * len(COLUMNS))})"
    return f"INSERT INTO usage ({listed([*COLUMNS])}) VALUES {', '.join([row] * rows)} ON CONFLICT DO NOTHING"  # noqa: S608


SQLITE_ADD_UP: Final = _add_up("usage WHERE rowid > :newest", SQLITE_DAY)

# RETURNING gives only the rows that were inserted, so only they are added up, even if two processes insert one.
POSTGRESQL_INSERT: Final = (
    f"WITH added AS (INSERT INTO usage ({listed([*COLUMNS])}) {POSTGRESQL_ROWS} ON CONFLICT DO NOTHING RETURNING *) "
    + _add_up("added", POSTGRESQL_DAY)
)

DELETE: Final = (
    "DELETE FROM usage WHERE started_at < :before AND request_id IN "
    "(SELECT request_id FROM usage WHERE started_at < :before ORDER BY started_at LIMIT :most)"
)
"""Deletes the oldest rows, `:most` at most. The sums of their days stay in `usage_daily`.

The moment stands there twice so that PostgreSQL looks for the ids in the months before it alone.
"""
