"""Answers a Question from the tables: sums over a time, grouped by key, model, team, day and so on.

Whole days are read from `usage_daily` if it has the columns of the question; the hours before and after them, and all
other questions, from `usage`. Of a day whose rows are not kept any more, all hours count. Lines that are not in the
tables yet are read from where they wait, in the same statement. All count a request at the time at which it began.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, Literal

from crplugins.ledger.errors import TooManyLines
from crplugins.ledger.inserts import DIMENSIONS, POSTGRESQL_DAY, SQLITE_DAY, SUMS, listed
from crplugins.ledger.question import GROUPS, MEASURES, Question, Sums
from crplugins.ledger.reader import LedgerReader

_DAY: Final = timedelta(days=1)
_DAYS: Final = {"sqlite": SQLITE_DAY, "postgresql": POSTGRESQL_DAY}


async def answer(reader: LedgerReader, question: Question) -> list[Sums]:
    """The lines by day, then the most expensive first. Without groups there is always one line, even if it is zeros.

    Raises `TooManyLines` for more than `question.most`.
    """
    columns = [GROUPS[name] for name in question.by]

    def statement(waiting: str | None) -> tuple[str, Mapping[str, Any]]:
        return _Statement(question, columns, _DAYS[reader.backend]).whole(waiting)

    rows = await reader.ask(statement)
    if question.most is not None and len(rows) > question.most:
        raise TooManyLines
    return await asyncio.to_thread(_lines, rows, columns)


async def spent(reader: LedgerReader, scope: Literal["key", "team"], name: str, since: datetime) -> int:
    """What a key or team has spent in requests that began at `since` (with a zone) or later, in micro-USD."""
    (sums,) = await answer(reader, Question(since=since, only={scope: name}))
    return sums.cost_micro_usd


def _lines(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> list[Sums]:
    return sorted((_sums(row, columns) for row in rows), key=_order)


def _sums(row: Sequence[Any], columns: Sequence[str]) -> Sums:
    group = {name: str(value) or None for name, value in zip(columns, row, strict=False)}
    return Sums(group=group, **dict(zip(MEASURES, map(int, row[len(columns) :]), strict=True)))


def _order(line: Sums) -> tuple[Any, ...]:
    texts = tuple(value or "" for value in line.group.values())
    return line.group.get("day") or "", -line.cost_micro_usd, -line.requests, texts


class _Statement:
    """A SELECT of SELECTs that together count each request once, and the values of its parameters."""

    def __init__(self, question: Question, columns: Sequence[str], day: str) -> None:
        self._question, self._columns, self._day = question, columns, day
        self._values: dict[str, Any] = {}

    def whole(self, waiting: str | None) -> tuple[str, Mapping[str, Any]]:
        """`waiting`: lines that are not in the tables, as a table; None if there are none."""
        question = self._question
        parts = self._of_tables()
        if waiting is not None:
            parts.append(self._of_requests(question.since, question.until, waiting))
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in MEASURES)
        groups = listed(self._columns)
        found = f"SELECT {groups + ', ' if groups else ''}{sums} FROM ({' UNION ALL '.join(parts)}) AS parts"  # noqa: S608
        most = "" if question.most is None else f" LIMIT {question.most + 1}"
        return (f"{found} GROUP BY {groups}{most}" if groups else found), self._values

    def _of_tables(self) -> list[str]:
        since, until, known = self._question.since, self._question.until, {*DIMENSIONS, "day"}
        first, end = _next_midnight(since), _last_midnight(until)
        if not {*self._columns, *(GROUPS[name] for name in self._question.only)} <= known:
            return [self._of_requests(since, until)]
        cut = [day for moment in (since, until) if (day := _last_midnight(moment)) is not None and day != moment]
        without_rows = [self._of_a_day_without_rows(day) for day in dict.fromkeys(cut)]
        if first and end and first >= end:
            return [self._of_requests(since, until), *without_rows]
        parts = [self._of_days(first, end), *without_rows]
        if since is not None and first != since:
            parts.append(self._of_requests(since, first))
        if until is not None and end != until:
            parts.append(self._of_requests(end, until))
        return parts

    def _of_requests(self, since: datetime | None, until: datetime | None, rows: str = "usage") -> str:
        groups = [self._day if name == "day" else f"""coalesce("{name}", '')""" for name in self._columns]
        conditions = self._conditions(null="IS NULL")
        if since is not None:
            conditions.append(f"started_at >= :{self._value(since)}")
        if until is not None:
            conditions.append(f"started_at < :{self._value(until)}")
        return self._part(groups, [SUMS[name] for name in MEASURES], rows, conditions)

    def _of_a_day_without_rows(self, day: datetime) -> str:
        """All of a day of which only the sums are kept: which hours they are of, nobody knows any more."""
        begin, end = self._value(day), self._value(day + _DAY)
        rows = f"SELECT 1 FROM usage WHERE started_at >= :{begin} AND started_at < :{end}"  # noqa: S608  # all words are ours
        return self._of_days(day, day + _DAY, f"NOT EXISTS ({rows})")

    def _of_days(self, since: datetime | None, until: datetime | None, *further: str) -> str:
        conditions = [*self._conditions(null="= ''"), *further]
        if since is not None:
            conditions.append(f"day >= :{self._value(since.date())}")
        if until is not None:
            conditions.append(f"day < :{self._value(until.date())}")
        groups = [f'"{name}"' for name in self._columns]
        return self._part(groups, [f"sum({name})" for name in MEASURES], "usage_daily", conditions)

    def _part(self, groups: Sequence[str], sums: Sequence[str], rows: str, conditions: Sequence[str]) -> str:
        names = [*self._columns, *MEASURES]
        selected = ", ".join(f'{value} AS "{name}"' for value, name in zip([*groups, *sums], names, strict=True))
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        group = f" GROUP BY {', '.join(groups)}" if groups else ""
        return f"SELECT {selected} FROM {rows}{where}{group}"  # noqa: S608  # all words are ours

    def _conditions(self, *, null: str) -> list[str]:
        only = ((GROUPS[name], value) for name, value in self._question.only.items())
        return [f'"{name}" = :{self._value(value)}' if value else f'"{name}" {null}' for name, value in only]

    def _value(self, value: Any) -> str:
        """The name of the parameter with this value."""
        name = f"value_{len(self._values)}"
        self._values[name] = value
        return name


def _last_midnight(moment: datetime | None) -> datetime | None:
    """The midnight in UTC at or before the moment."""
    return None if moment is None else datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def _next_midnight(moment: datetime | None) -> datetime | None:
    """The midnight in UTC at or after the moment."""
    midnight = _last_midnight(moment)
    return midnight if midnight is None or midnight == moment else midnight + _DAY
