"""The ledger's side: sums by day, model and tier, which the database makes."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from crplugins.ledger.inserts import POSTGRESQL_DAY, SQLITE_DAY
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.reconcile.amounts import NOTHING, BookedAmounts, Entry

LATE_MINUTES: Final = 15
"""A request that ended so close to midnight, or beyond, may stand in the provider's books on the next day."""

_DAY: Final = timedelta(days=1)

_DAYS: Final = {"sqlite": SQLITE_DAY, "postgresql": POSTGRESQL_DAY}
_LATEST_DAYS: Final = {
    "sqlite": f"date(ended_at, '+{LATE_MINUTES} minutes')",
    "postgresql": f"CAST(timezone('UTC', ended_at) + make_interval(mins => {LATE_MINUTES}) AS date)",
}

_BOTH: Final = "(SELECT * FROM usage UNION ALL SELECT * FROM {waiting}) AS usage"

_NAMES: Final = ("day", "provider_model", "served_model", "tier", "late", "source", *BookedAmounts._fields, "unpriced")

_BOOK: Final = """
    SELECT
        {day},
        coalesce(provider_model, ''),
        coalesce(served_model, ''),
        coalesce(service_tier, ''),
        CASE WHEN {latest_day} > {day} THEN 1 ELSE 0 END,
        usage_source,
        count(*),
        {tokens},
        coalesce(sum(cost_micro_usd), 0),
        sum(CASE WHEN cost_micro_usd IS NULL THEN 1 ELSE 0 END)
    FROM {rows}
    WHERE started_at >= :day_before AND started_at < :day_after
        AND (started_at >= :begin OR {latest_day} > {day})
        AND (usage_source NOT IN ('none', 'cache') OR usage_source = 'none' AND outcome IN ('ok', 'cancelled'))
        {of_provider}
    GROUP BY 1, 2, 3, 4, 5, 6
"""
"""Answers from a cache, refusals and failures are not in it: the provider was not asked, or has counted nothing."""


async def read_book(reader: LedgerReader, first: date, last: date, provider: str | None) -> list[Entry]:
    """The requests that began on these days, and those of the day before that ended late."""
    begin = datetime.combine(first, time(), UTC)
    values = {
        "begin": begin,
        "day_before": begin - _DAY,
        "day_after": datetime.combine(last, time(), UTC) + _DAY,
        **({} if provider is None else {"provider": provider}),
    }

    def statement(waiting: str | None) -> tuple[str, Mapping[str, Any]]:
        text = _BOOK.format(
            day=_DAYS[reader.backend],
            latest_day=_LATEST_DAYS[reader.backend],
            tokens=", ".join(f"sum({name})" for name in BookedAmounts._fields[1:-1]),
            rows="usage" if waiting is None else _BOTH.format(waiting=waiting),
            # None: a foreign app called it
            of_provider="" if provider is None else "AND (provider = :provider OR provider IS NULL)",
        )
        return text, values

    return [_entry(dict(zip(_NAMES, row, strict=True))) for row in await reader.ask(statement)]


def _entry(row: Mapping[str, Any]) -> Entry:
    counted = row["source"] != "none"
    return Entry(
        day=date.fromisoformat(str(row["day"])),
        names=(row["provider_model"], row["served_model"]),
        tier=row["tier"],
        late=bool(row["late"]),
        estimated=row["source"] == "estimated",
        amounts=BookedAmounts(*(int(row[name]) for name in BookedAmounts._fields)) if counted else NOTHING,
        unpriced=int(row["unpriced"]) if counted else 0,
        uncounted=0 if counted else int(row["requests"]),
    )
