"""Inserts records into `usage`, and adds those that are new to the sums of their day in `usage_daily`.

One statement for each database takes a JSON array of records: `insert_into_sqlite` and `insert_into_postgresql`.
`daily_sums` and `upsert_into_daily` are the same for both.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Case,
    ColumnElement,
    Date,
    Double,
    FromClause,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.ledger.question import MEASURES
from crplugins.ledger.schema import usage, usage_daily

DIMENSIONS: Final = ("key_id", "team", "requested_model", "served_model", "provider")
"""The columns by which, besides the day, `usage_daily` is grouped."""

TOKENS: Final = tuple(name for name in MEASURES if name.endswith("_tokens"))


def daily_sums(rows: FromClause, day: ColumnElement[Any]) -> Select[Any]:
    """The columns of `usage_daily` for `rows` of `usage`, whose day in UTC is `day`.

    They are in the order of the primary key, so that two processes lock rows in the same order.
    """
    dimensions = [day.label("day"), *(func.coalesce(rows.c[name], "").label(name) for name in DIMENSIONS)]
    sums = [sum_.label(name) for name, sum_ in measures(rows).items()]
    return select(*dimensions, *sums).select_from(rows).group_by(*dimensions).order_by(*dimensions)


def measures(rows: FromClause) -> Mapping[str, ColumnElement[Any]]:
    """The sums over `rows` of `usage`, by their names in `usage_daily`. Tokens from a cache are no provider's."""
    c = rows.c
    sums = {
        "requests": func.count(),
        "errors": func.sum(_one_if(c.outcome.not_in(("ok", "cancelled")))),
        **{name: func.sum(case((c.usage_source == "cache", 0), else_=c[name])) for name in TOKENS},
        "cost_micro_usd": func.coalesce(func.sum(c.cost_micro_usd), 0),
        "unpriced_requests": func.sum(_one_if(c.cost_micro_usd.is_(None))),
        "estimated_requests": func.sum(_one_if(c.usage_source == "estimated")),
        "provider_cost_micro_usd": func.coalesce(func.sum(c.provider_cost_micro_usd), 0),
    }
    return {name: sums[name] for name in MEASURES}


def upsert_into_daily(insert: Any, sums: Select[Any]) -> Any:
    """Adds `sums` to the rows of `usage_daily`. `insert` is the function of a dialect with ON CONFLICT."""
    statement = insert(usage_daily).from_select(["day", *DIMENSIONS, *MEASURES], sums)
    added = {name: usage_daily.c[name] + statement.excluded[name] for name in MEASURES}
    return statement.on_conflict_do_update(index_elements=list(usage_daily.primary_key), set_=added)


def _one_if(condition: ColumnElement[bool]) -> Case[int]:
    return case((condition, 1), else_=0)


# LIMIT -1 limits nothing, but keeps SQLite from merging the subquery: merged, `json_each` would write the whole line
# anew for each column.
_each: Final = func.json_each(bindparam("lines", type_=Text)).table_valued("value")
_lines: Final = select(_each.c.value).limit(-1).offset(0).subquery("line")
_rowid: Final[ColumnElement[int]] = column("rowid", Integer)


def _sqlite_value(name: str) -> ColumnElement[Any]:
    path = f"$.usage.{name}" if name in TOKENS else f"$.{name}"
    value = func.json_extract(_lines.c.value, path)
    return _moment(value) if name in ("started_at", "ended_at") else value


def _moment(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    """The text of SQLAlchemy's DateTime, to the microsecond. Such texts sort by time."""
    whole = cast(seconds, Integer)
    microseconds = cast((seconds - whole) * literal(1_000_000), Integer)
    return func.strftime("%Y-%m-%d %H:%M:%S", whole, "unixepoch").concat(func.printf(".%06d", microseconds))


_NEWEST: Final = select(func.coalesce(func.max(_rowid), 0)).select_from(usage)
_SQLITE_INSERT: Final = (
    sqlite_insert(usage)
    .from_select([c.name for c in usage.c], select(*(_sqlite_value(c.name) for c in usage.c)).where(true()))
    .on_conflict_do_nothing()
)
_SUMS: Final = daily_sums(usage, func.date(usage.c.started_at)).where(_rowid > bindparam("newest"))
_ADD_UP: Final = upsert_into_daily(sqlite_insert, _SUMS)


async def insert_into_sqlite(connection: AsyncConnection, lines: str) -> None:
    """Needs a transaction that holds the write lock: all rows after the newest are then this process's."""
    newest = (await connection.execute(_NEWEST)).scalar_one()
    await connection.execute(_SQLITE_INSERT, {"lines": lines})
    await connection.execute(_ADD_UP, {"newest": newest})


_MOMENTS: Final = ("started_at", "ended_at")

_fields: Final = [column(c.name, Double if c.name in _MOMENTS else c.type) for c in usage.c if c.name not in TOKENS]
_line: Final = (
    func.json_to_recordset(cast(bindparam("lines", type_=Text), JSON))
    .table_valued(*_fields, column("usage", JSON))
    .render_derived(name="line", with_types=True)
)


def _postgresql_value(name: str) -> ColumnElement[Any]:
    if name in TOKENS:
        return cast(_line.c.usage[name].as_string(), BigInteger)
    return func.to_timestamp(_line.c[name]) if name in _MOMENTS else _line.c[name]


_added: Final = (
    postgresql_insert(usage)
    .from_select([c.name for c in usage.c], select(*(_postgresql_value(c.name) for c in usage.c)))
    .on_conflict_do_nothing()
    .returning(usage)
    .cte("added")
)
_POSTGRESQL_INSERT: Final = upsert_into_daily(
    postgresql_insert, daily_sums(_added, cast(func.timezone("UTC", _added.c.started_at), Date))
)


async def insert_into_postgresql(connection: AsyncConnection, lines: str) -> None:
    """RETURNING gives only the rows that were inserted, so only they are added up, even if two processes insert one."""
    await connection.execute(_POSTGRESQL_INSERT, {"lines": lines})
