"""Lines of JSON into SQLite. The database takes them apart, off the event loop and without the interpreter's lock."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Text, bindparam, cast, column, func, literal, select, true
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.ledger.rollup import TOKENS, daily_sums, upsert_into_daily
from crplugins.ledger.schema import usage

# A limit that is none: merged with what reads it, `json_each` would write the whole line anew for each column.
_each: Final = func.json_each(bindparam("lines", type_=Text)).table_valued("value")
_lines: Final = select(_each.c.value).limit(-1).offset(0).subquery("line")
_rowid: Final[ColumnElement[int]] = column("rowid", Integer)


def _value(name: str) -> ColumnElement[Any]:
    path = f"$.usage.{name}" if name in TOKENS else f"$.{name}"
    value = func.json_extract(_lines.c.value, path)
    return _moment(value) if name in ("started_at", "ended_at") else value


def _moment(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    """As SQLAlchemy writes a DateTime, to the microsecond: texts that sort by time."""
    whole = cast(seconds, Integer)
    microseconds = cast((seconds - whole) * literal(1_000_000), Integer)
    return func.strftime("%Y-%m-%d %H:%M:%S", whole, "unixepoch").concat(func.printf(".%06d", microseconds))


_NEWEST: Final = select(func.coalesce(func.max(_rowid), 0)).select_from(usage)
_INSERT: Final = (
    insert(usage)
    .from_select([c.name for c in usage.c], select(*(_value(c.name) for c in usage.c)).where(true()))
    .on_conflict_do_nothing()
)
_SUMS: Final = daily_sums(usage, func.date(usage.c.started_at)).where(_rowid > bindparam("newest"))
_ADD_UP: Final = upsert_into_daily(insert, _SUMS)


async def insert_lines(connection: AsyncConnection, lines: str) -> None:
    """Within a transaction that holds the write lock, which makes the rows behind the newest ours."""
    newest = (await connection.execute(_NEWEST)).scalar_one()
    await connection.execute(_INSERT, {"lines": lines})
    await connection.execute(_ADD_UP, {"newest": newest})
