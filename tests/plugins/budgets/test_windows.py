"""Which period a moment is in, by the calendar of UTC."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.principal import Budget, Period, Principal
from crplugins.plugins.budgets.windows import BudgetWindows, period_around


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "period", "start", "end"),
    [
        ("2026-11-24T12:00", "day", "2026-11-24", "2026-11-25"),
        ("2026-11-24T00:00", "day", "2026-11-24", "2026-11-25"),
        ("2026-11-24T12:00", "week", "2026-11-23", "2026-11-30"),
        ("2026-11-23T00:00", "week", "2026-11-23", "2026-11-30"),
        ("2027-01-03T23:59", "week", "2026-12-28", "2027-01-04"),
        ("2026-12-31T23:59", "month", "2026-12-01", "2027-01-01"),
        ("2028-02-29T00:00", "month", "2028-02-01", "2028-03-01"),
        ("2026-11-24T12:00", "total", "1970-01-01", "9999-12-31"),
    ],
)
def test_periods(now: str, period: Period, start: str, end: str) -> None:
    assert period_around(at(now), period) == (at(start), at(end))


@given(st.datetimes(datetime(1971, 1, 1), datetime(9990, 1, 1)), st.sampled_from(["day", "week", "month"]))  # noqa: DTZ001
def test_periods_follow_each_other_without_a_gap(now: datetime, period: Period) -> None:
    start, end = period_around(now.replace(tzinfo=UTC), period)
    assert start <= now.replace(tzinfo=UTC) < end
    assert period_around(end, period)[0] == end
    assert period_around(end - timedelta(microseconds=1), period) == (start, end)


def windows(budget: Budget) -> BudgetWindows:
    return BudgetWindows(budget, {}, 0.8)


@pytest.mark.parametrize("period", get_args(Period))
def test_a_window_has_a_state_of_its_own(period: Period) -> None:
    found = windows(Budget(5, period))
    keys = set()
    for moment in ("2026-11-24", "2026-11-25", "2026-12-01", "2027-01-01"):
        (window,) = found.of(Principal("a/b"), round(at(moment).timestamp() * 1000))
        keys.add(window.limit.key)
        assert window.limit.key.startswith(f"key/a%2Fb/usd/{period}/")
    assert len(keys) == {"day": 4, "week": 3, "month": 3, "total": 1}[period]


def test_windows_are_remembered_until_the_first_of_them_ends() -> None:
    found, principal = windows(Budget(5, "day")), Principal("a", team="t")
    midnight = round(at("2026-11-25").timestamp() * 1000)
    today = found.of(principal, midnight - 5)
    assert found.of(principal, midnight - 1) is today
    assert found.of(principal, midnight) is not today
    assert found.of(Principal("a", team="t"), midnight) is not found.of(principal, midnight)


def test_a_clock_that_was_ahead_and_is_set_back_is_in_the_period_before() -> None:
    found, principal = windows(Budget(5, "month")), Principal("a")
    november, december = (round(at(day).timestamp() * 1000) for day in ("2026-11-25", "2026-12-25"))
    before = found.of(principal, november)
    assert found.of(principal, december) != before
    assert found.of(principal, november) == before
