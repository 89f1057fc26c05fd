"""Answers a Question from the tables: sums over a time, grouped by key, model, team, day and so on.

Whole days are read from `usage_daily` if it has the columns of the question; the hours before and after them, and all
other questions, from `usage`. Both count a request at the time at which it began.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Date, Row, Select, cast, func, select, type_coerce, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.ledger.inserts import DIMENSIONS, measures
from crplugins.ledger.question import GROUPS, MEASURES, Question, Sums
from crplugins.ledger.schema import usage, usage_daily

_DAY: Final = timedelta(days=1)


async def answer(connection: AsyncConnection, question: Question) -> list[Sums]:
    """The lines by day, then the most expensive first. Without groups there is always one line, even if it is zeros."""
    columns = [GROUPS[name] for name in question.by]
    parts = _parts(question, columns, postgresql=connection.dialect.name == "postgresql")
    c = union_all(*parts).subquery("parts").c
    sums = [func.coalesce(func.sum(c[name]), 0).label(name) for name in MEASURES]
    groups = [c[name] for name in columns]
    rows = await connection.execute(select(*groups, *sums).group_by(*groups))
    return sorted((_sums(row, columns) for row in rows), key=_order)


def _sums(row: Row[Any], columns: Sequence[str]) -> Sums:
    values = row._asdict()
    group = {name: str(values[name]) or None for name in columns}
    return Sums(group=group, **{name: int(values[name]) for name in MEASURES})


def _order(line: Sums) -> tuple[Any, ...]:
    texts = tuple(value or "" for value in line.group.values())
    return line.group.get("day") or "", -line.cost_micro_usd, -line.requests, texts


def _parts(question: Question, columns: Sequence[str], *, postgresql: bool) -> list[Select[Any]]:
    """Selects that together count each request once."""
    since, until, known = question.since, question.until, {*DIMENSIONS, "day"}
    first, end = _next_midnight(since), _last_midnight(until)
    if not {*columns, *(GROUPS[name] for name in question.only)} <= known or (first and end and first >= end):
        return [_of_requests(question, columns, since, until, postgresql=postgresql)]
    parts = [_of_days(question, columns, first and first.date(), end and end.date())]
    if since is not None and first != since:
        parts.append(_of_requests(question, columns, since, first, postgresql=postgresql))
    if until is not None and end != until:
        parts.append(_of_requests(question, columns, end, until, postgresql=postgresql))
    return parts


def _of_requests(
    question: Question, columns: Sequence[str], since: datetime | None, until: datetime | None, *, postgresql: bool
) -> Select[Any]:
    day: ColumnElement[Any] = func.timezone("UTC", usage.c.started_at) if postgresql else func.date(usage.c.started_at)
    day = cast(day, Date) if postgresql else type_coerce(day, Date)
    groups = [(day if name == "day" else func.coalesce(usage.c[name], "")).label(name) for name in columns]
    sums = [sum_.label(name) for name, sum_ in measures(usage).items()]
    found = select(*groups, *sums).select_from(usage).group_by(*groups)
    for name, value in question.only.items():
        column = usage.c[GROUPS[name]]
        found = found.where(column == value if value else column.is_(None))
    if since is not None:
        found = found.where(usage.c.started_at >= since)
    return found if until is None else found.where(usage.c.started_at < until)


def _of_days(question: Question, columns: Sequence[str], since: date | None, until: date | None) -> Select[Any]:
    c = usage_daily.c
    groups = [c[name] for name in columns]
    found = select(*groups, *(func.sum(c[name]).label(name) for name in MEASURES)).group_by(*groups)
    found = found.where(*(c[GROUPS[name]] == value for name, value in question.only.items()))
    if since is not None:
        found = found.where(c.day >= since)
    return found if until is None else found.where(c.day < until)


def _last_midnight(moment: datetime | None) -> datetime | None:
    """The midnight in UTC at or before the moment."""
    return None if moment is None else datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def _next_midnight(moment: datetime | None) -> datetime | None:
    """The midnight in UTC at or after the moment."""
    midnight = _last_midnight(moment)
    return midnight if midnight is None or midnight == moment else midnight + _DAY


async def spent(connection: AsyncConnection, scope: Literal["key", "team"], name: str, since: datetime) -> int:
    """What a key or team has spent in requests that began at `since` (with a zone) or later, in micro-USD."""
    (sums,) = await answer(connection, Question(since=since, only={scope: name}))
    return sums.cost_micro_usd
