"""The sums of each day, of rows of `usage` that have just become some."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Case, ColumnElement, FromClause, Select, case, func, select

from crplugins.ledger.question import MEASURES
from crplugins.ledger.schema import usage_daily

DIMENSIONS: Final = ("key_id", "team", "requested_model", "served_model", "provider")
"""What, besides the day, rows of `usage_daily` tell apart."""

TOKENS: Final = tuple(name for name in MEASURES if name.endswith("_tokens"))


def daily_sums(rows: FromClause, day: ColumnElement[Any]) -> Select[Any]:
    """The columns of `usage_daily` for `rows` of `usage`, whose day in UTC is `day`.

    In the order of the primary key, so that two processes wait for each other's rows in the same order.
    """
    dimensions = [day.label("day"), *(func.coalesce(rows.c[name], "").label(name) for name in DIMENSIONS)]
    sums = [sum_.label(name) for name, sum_ in measures(rows).items()]
    return select(*dimensions, *sums).select_from(rows).group_by(*dimensions).order_by(*dimensions)


def measures(rows: FromClause) -> Mapping[str, ColumnElement[Any]]:
    """What is summed over `rows` of `usage`, by its name in `usage_daily`."""
    c = rows.c
    sums = {
        "requests": func.count(),
        "errors": func.sum(_one_if(c.outcome.not_in(("ok", "cancelled")))),
        **{name: func.sum(c[name]) for name in TOKENS},
        "cost_micro_usd": func.coalesce(func.sum(c.cost_micro_usd), 0),
        "unpriced_requests": func.sum(_one_if(c.cost_micro_usd.is_(None))),
        "estimated_requests": func.sum(_one_if(c.usage_source == "estimated")),
    }
    return {name: sums[name] for name in MEASURES}


def upsert_into_daily(insert: Any, sums: Select[Any]) -> Any:
    """Adds `sums` to what stands in `usage_daily`. `insert` is the function of a dialect that knows ON CONFLICT."""
    statement = insert(usage_daily).from_select(["day", *DIMENSIONS, *MEASURES], sums)
    added = {name: usage_daily.c[name] + statement.excluded[name] for name in MEASURES}
    return statement.on_conflict_do_update(index_elements=list(usage_daily.primary_key), set_=added)


def _one_if(condition: ColumnElement[bool]) -> Case[int]:
    return case((condition, 1), else_=0)
