"""The ledger's side: sums by day, model and tier, which the database makes."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Date, and_, case, cast, func, or_, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.ledger.reconcile.amounts import NOTHING, BookedAmounts, Entry
from crplugins.ledger.schema import usage

LATE_MINUTES: Final = 15
"""A request that ended so close to midnight, or beyond, may stand in the provider's books on the next day."""

_DAY: Final = timedelta(days=1)
_NOT_ASKED: Final = ("none", "cache")
"""Sources of usage of requests for which no provider was asked, or has counted nothing."""


async def read_book(connection: AsyncConnection, first: date, last: date, provider: str | None) -> list[Entry]:
    """The requests that began on these days, and those of the day before that ended late.

    Answers from a cache, refusals and failures are not in it: the provider was not asked, or has counted nothing.
    """
    postgresql = connection.dialect.name == "postgresql"
    c = usage.c
    day = _day(c.started_at, postgresql=postgresql)
    late = case((_day(c.ended_at, postgresql=postgresql, minutes=LATE_MINUTES) > day, 1), else_=0)
    uncounted = and_(c.usage_source == "none", c.outcome.in_(("ok", "cancelled")))
    groups = {
        "day": type_coerce(day, Date),
        "provider_model": func.coalesce(c.provider_model, ""),
        "served_model": func.coalesce(c.served_model, ""),
        "tier": func.coalesce(c.service_tier, ""),
        "late": late,
        "source": c.usage_source,
    }
    sums = [func.sum(c[name]).label(name) for name in BookedAmounts._fields[1:-1]]
    found = select(
        *(column.label(name) for name, column in groups.items()),
        func.count().label("requests"),
        *sums,
        func.coalesce(func.sum(c.cost_micro_usd), 0).label("cost_micro_usd"),
        func.sum(case((c.cost_micro_usd.is_(None), 1), else_=0)).label("unpriced"),
    )
    begin = datetime.combine(first, time(), UTC)
    found = found.where(
        c.started_at >= begin - _DAY,
        c.started_at < datetime.combine(last, time(), UTC) + _DAY,
        or_(c.started_at >= begin, late == 1),
        or_(c.usage_source.not_in(_NOT_ASKED), uncounted),
    ).group_by(*groups.values())
    if provider is not None:
        found = found.where(or_(c.provider == provider, c.provider.is_(None)))  # None: a foreign app called it
    return [_entry(row._asdict()) for row in await connection.execute(found)]


def _entry(row: dict[str, Any]) -> Entry:
    counted = row["source"] != "none"
    return Entry(
        day=row["day"],
        names=(row["provider_model"], row["served_model"]),
        tier=row["tier"],
        late=bool(row["late"]),
        estimated=row["source"] == "estimated",
        amounts=BookedAmounts(*(int(row[name]) for name in BookedAmounts._fields)) if counted else NOTHING,
        unpriced=int(row["unpriced"]) if counted else 0,
        uncounted=0 if counted else int(row["requests"]),
    )


def _day(moment: ColumnElement[Any], *, postgresql: bool, minutes: int = 0) -> ColumnElement[Any]:
    """The day (UTC) of `minutes` after the moment."""
    if postgresql:
        later = func.timezone("UTC", moment).op("+")(func.make_interval(0, 0, 0, 0, 0, minutes))
        return cast(later, Date)
    return func.date(moment, f"+{minutes} minutes")
