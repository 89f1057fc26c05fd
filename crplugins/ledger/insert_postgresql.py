"""Lines of JSON into PostgreSQL: one statement, whose text is the same whatever their number."""

from typing import Any, Final

from sqlalchemy import JSON, BigInteger, ColumnElement, Date, Double, Text, bindparam, cast, column, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.ledger.rollup import TOKENS, daily_sums, upsert_into_daily
from crplugins.ledger.schema import usage

_MOMENTS: Final = ("started_at", "ended_at")

_fields: Final = [column(c.name, Double if c.name in _MOMENTS else c.type) for c in usage.c if c.name not in TOKENS]
_line: Final = (
    func.json_to_recordset(cast(bindparam("lines", type_=Text), JSON))
    .table_valued(*_fields, column("usage", JSON))
    .render_derived(name="line", with_types=True)
)


def _value(name: str) -> ColumnElement[Any]:
    if name in TOKENS:
        return cast(_line.c.usage[name].as_string(), BigInteger)
    return func.to_timestamp(_line.c[name]) if name in _MOMENTS else _line.c[name]


_added: Final = (
    insert(usage)
    .from_select([c.name for c in usage.c], select(*(_value(c.name) for c in usage.c)))
    .on_conflict_do_nothing()
    .returning(usage)
    .cte("added")
)
_INSERT: Final = upsert_into_daily(insert, daily_sums(_added, cast(func.timezone("UTC", _added.c.started_at), Date)))


async def insert_lines(connection: AsyncConnection, lines: str) -> None:
    """Only what is really inserted is RETURNING, and so added up: also where two processes insert the same."""
    await connection.execute(_INSERT, {"lines": lines})
