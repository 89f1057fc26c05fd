"""The arithmetic of limits: how use drains over time, what is admitted, what a settlement changes.

Pure functions of state, time and cost, in doubles and in the order of operations of `redis/*.lua`, so that all stores
decide alike to the last bit. Times and durations are milliseconds, times since 1970.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import Final

from crplugins.limits.limit import NEVER, Level, Limit

MeterState = tuple[float, float, Limit, float, float, float]
"""How much of a meter was used, at what time, and the limit by which it drains; and what was charged in the calendar
period of that time: the number of the period since 1970, what was charged in it, and in the one before."""

LEASE_WAIT: Final = 1_000
"""When to retry for a lease. Nobody knows how long the requests that hold the leases will take."""

_DRAINED: Final = 1_000
_LATE: Final = 60_000
"""How long the state of a drained meter and of a window that has ended is kept, because clocks differ."""

_REMEMBERED: Final = 3_600_000
_DRAIN_TIMES: Final = 10
"""What was recently charged is remembered, after the last charge, for ten times as long as it takes to drain: whoever
uses a tenth of a limit or more comes again by then, and of callers that come once nothing stays for long. And for an
hour, or a period, at most."""


def decayed(state: MeterState | None, limit: Limit, now: float) -> float:
    """How much of a meter is still used at `now`. Between a clock that was ahead and `now` nothing decays."""
    if state is None:
        return 0.0
    used, elapsed = state[0], now - state[1]
    if elapsed <= 0:
        return used
    remaining = used - elapsed * limit.amount / limit.period
    return remaining if remaining > 0 else 0.0


def check_meter(limit: Limit, cost: int, used: float) -> tuple[int, Level]:
    """How long a charge has to wait: 0 if it is admitted, `NEVER` if it never will be. And the level before it."""
    amount, period, burst = limit.amount, limit.period, limit.burst
    level = Level(floor(used), ceil(used * period / amount))
    # More than the burst, but within the amount: such a charge needs an empty meter.
    cap = burst if cost <= burst else max(burst, min(cost, amount))
    if used + cost <= cap and (cost or used < cap):
        return 0, level
    return NEVER if cost > amount else max(1, ceil((used + cost - cap) * period / amount)), level


def settled_meter(used: float, difference: int, amount: int, debt: float) -> float:
    """How much is used after a settlement: never below zero, and no debt beyond a share of the amount."""
    changed = used + difference
    if difference < 0:
        return changed if changed > 0 else 0.0
    return min(changed, max(used, amount * (1 + debt)))


def charged_meter(state: MeterState | None, limit: Limit, used: float, change: float, now: float) -> MeterState:
    """The state after a charge, or with a negative change a refund, has made it `used`."""
    period = limit.period
    number = now // period
    if state is not None:
        _, at, _, last, present, before = state
        elapsed, drains = now - at, _DRAIN_TIMES * (present + before) * period / limit.amount
        if elapsed < period and elapsed < _REMEMBERED and elapsed < drains:
            if number == last:
                return used, now, limit, number, present + change, before
            if number == last + 1:
                return used, now, limit, number, change, present
    return used, now, limit, number, change, 0.0


def recently_charged(state: MeterState | None, limit: Limit, now: float) -> int:
    """About how much was charged in the last period: what this calendar period has, and its share of the one before."""
    if state is None or now - state[1] >= _remembered(state, limit):
        return 0
    *_, last, present, before = state
    passed = now // limit.period - last
    if passed == 1:
        present, before = 0.0, present
    elif passed:
        return 0
    return max(0, floor(present + before * (1 - now % limit.period / limit.period)))


def _remembered(state: MeterState, limit: Limit) -> float:
    """How long after its last charge a meter's recent use is known. `charged_meter`, which every request needs, has the
    same without a call."""
    _, _, _, _, present, before = state
    return min(limit.period, _REMEMBERED, _DRAIN_TIMES * (present + before) * limit.period / limit.amount)


def meter_expiry(state: MeterState) -> float:
    """Until when the state of a meter has to be kept."""
    used, at, limit, *_ = state
    return at + max(used * limit.period / limit.amount + _DRAINED, _remembered(state, limit))


def check_window(limit: Limit, cost: int, used: int, now: int) -> tuple[int, Level]:
    """As `check_meter`. Nothing of a window becomes free before its end."""
    amount, period = limit.amount, limit.period
    level = Level(used, period - now)
    if used + cost <= amount and (cost or used < amount):
        return 0, level
    return NEVER if cost > amount else max(1, period - now), level


def window_expiry(limit: Limit) -> int:
    """Until when the state of a window has to be kept: after that, no late settlement can belong to it."""
    return limit.period + _LATE


def check_lease(limit: Limit, cost: int, live: int) -> tuple[int, Level]:
    """As `check_meter`. `live` leases are held."""
    return LEASE_WAIT if live + cost > limit.amount else 0, Level(live, 0)


def deciding_wait(waits: Sequence[int]) -> int:
    """Index of the wait that decides: the last that never ends, else the first of the longest."""
    never = [index for index, wait in enumerate(waits) if wait == NEVER]
    return never[-1] if never else waits.index(max(waits))
