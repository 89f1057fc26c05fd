"""The arithmetic itself, where a store's test would not get near."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.limits.arithmetic import (
    charged_meter,
    check_meter,
    decayed,
    deciding_wait,
    meter_expiry,
    recently_charged,
    settled_meter,
)
from crplugins.limits.limit import NEVER, Limit

MINUTE = 60_000
MONTHS = 30 * 86_400_000

limits = st.builds(
    lambda amount, period, share: Limit("meter", "m", amount, period, max(1, amount // share)),
    st.integers(1, 10**10),
    st.integers(1, MONTHS),
    st.sampled_from([1, 1, 4, 60]),
)


def state_of(used, at, limit):
    """Of a meter of which nothing was charged recently."""
    return used, at, limit, at // limit.period, 0.0, 0.0


@given(limits, st.floats(0, 2e10), st.integers(0, 10**10))
def test_a_charge_is_admitted_after_its_wait_and_not_before(limit, used, cost):
    wait, _ = check_meter(limit, cost, used)
    state = state_of(used, 0.0, limit)
    if wait == NEVER:
        assert cost > limit.amount
    elif wait:
        per_millisecond = limit.amount / limit.period
        later = decayed(state, limit, wait)
        cap = max(limit.burst, min(cost, limit.amount))
        assert later + cost <= cap + 1e-6 * max(1.0, cap)
        assert decayed(state, limit, wait - 1) + cost > cap - 1e-6 * max(1.0, cap) or wait == 1
        assert later <= used or per_millisecond == 0


@given(limits, st.floats(0, 2e10), st.lists(st.integers(0, 10**7), max_size=5))
def test_looking_in_between_changes_hardly_anything(limit, used, steps):
    state, now = state_of(used, 0.0, limit), 0
    for step in steps:
        now += step
        state = state_of(decayed(state, limit, now), float(now), limit)
    assert math.isclose(state[0], decayed(state_of(used, 0.0, limit), limit, now), rel_tol=1e-9, abs_tol=1e-4)


@given(st.floats(0, 1e10), st.integers(-(10**10), 10**10), st.integers(1, 10**10), st.floats(0, 3))
def test_a_settlement_is_never_credit_and_never_debt_beyond_its_bound(used, difference, amount, debt):
    left = settled_meter(used, difference, amount, debt)
    assert 0 <= left <= max(used, amount * (1 + debt))
    assert left == min(max(0.0, used + difference), max(used, amount * (1 + debt)))


def test_time_that_stands_still_or_goes_back_drains_nothing():
    limit = Limit("meter", "m", 60, MINUTE, 60)
    state = state_of(12.5, 1_000.0, limit)
    assert [decayed(state, limit, now) for now in (0, 999, 1_000, 1_500, 13_500, 99_000)] == [
        12.5,
        12.5,
        12.5,
        12,
        0,
        0,
    ]
    assert decayed(None, limit, 0) == 0


def test_moments_of_today_lose_nothing():
    limit = Limit("meter", "m", 10**9, MINUTE, 10**9)
    now = 1_767_225_600_000
    state = state_of(1e9, float(now), limit)
    assert decayed(state, limit, now + 1) == 10**9 - 10**9 / MINUTE


@pytest.mark.parametrize(
    ("waits", "index"),
    [([5], 0), ([0, 3, 0], 1), ([3, 7, 7], 1), ([NEVER, 7], 0), ([7, NEVER], 1), ([NEVER, 9, NEVER, 0], 2)],
)
def test_the_last_that_never_ends_decides_else_the_first_of_the_longest(waits, index):
    assert deciding_wait(waits) == index


@pytest.mark.parametrize(("every", "cost"), [(500, 1), (1_000, 1), (7_000, 11), (20_000, 30)])
def test_what_was_recently_charged_is_the_rate_of_a_steady_use(every, cost):
    limit, state = Limit("meter", "m", 120, MINUTE, 120), None
    for now in range(1_767_225_600_000, 1_767_225_600_000 + 5 * MINUTE, every):
        used = 0.0 if state is None else decayed(state, limit, now)
        state = charged_meter(state, limit, used + cost, cost, float(now))
    assert recently_charged(state, limit, now) == pytest.approx(cost * MINUTE / every, abs=cost + 1)
    assert recently_charged(state, limit, now + MINUTE) == 0


def test_a_refund_is_taken_back_from_what_was_recently_charged_also_in_the_next_period():
    limit, now = Limit("meter", "m", 10_000, MINUTE, 10_000), 1_767_225_600_000 + 59_000
    state = charged_meter(None, limit, 1_024.0, 1_024, float(now))
    assert recently_charged(state, limit, now) == 1_024
    state = charged_meter(state, limit, 200.0, -1_000, float(now + 2_000))
    assert 0 <= recently_charged(state, limit, now + 2_000) <= 24


def test_what_hardly_uses_a_limit_is_soon_forgotten_and_a_clock_that_goes_back_forgets_nothing_that_counts():
    limit, now = Limit("meter", "m", 60, MINUTE, 60), 1_767_225_600_000
    state = charged_meter(None, limit, 1.0, 1, float(now))
    assert meter_expiry(state) == now + 10_000
    assert [recently_charged(state, limit, now + passed) for passed in (0, 9_999, 10_000, -MINUTE)] == [1, 1, 0, 0]
    state = charged_meter(None, limit, 30.0, 30, float(now))
    assert meter_expiry(state) == now + MINUTE
