"""The arithmetic of limits: what time leaves of a use, what is admitted, what a settlement changes.

Pure functions of state, time and cost, in doubles and in the order of operations of `redis/*.lua`, so that all stores
decide alike to the last bit. Moments and lengths are milliseconds, moments since 1970.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import Final

from crplugins.limits.limit import NEVER, Level, Limit

Meter = tuple[float, float, Limit]
"""What was used of a meter, when that was so, and the limit by which it drains."""

LEASE_WAIT: Final = 1_000
"""When to come back for a lease. Nobody knows how long the others' requests take."""

_new: Final = tuple.__new__
"""Makes a level in half the time that the constructor of a NamedTuple takes, which is much of the time of a charge."""

_DRAINED: Final = 1_000
_LATE: Final = 60_000
"""How much longer than it matters the state of a meter and of a window is remembered, for clocks that differ."""


def decayed(state: Meter | None, limit: Limit, now: float) -> float:
    """What is still used of a meter. A clock that goes back lets nothing decay."""
    if state is None:
        return 0.0
    used, at, _ = state
    elapsed = now - at
    if elapsed <= 0:
        return used
    left = used - elapsed * limit.amount / limit.period
    return left if left > 0 else 0.0


def meter_end(state: Meter) -> float:
    """Until when it has to be remembered."""
    used, at, limit = state
    return at + used * limit.period / limit.amount + _DRAINED


def judge_meter(limit: Limit, cost: int, used: float) -> tuple[int, Level]:
    """How long a charge has to wait: 0 if it is admitted, `NEVER` if it never will be. And the level before it."""
    _, _, amount, period, burst = limit
    level = _new(Level, (floor(used), ceil(used * period / amount)))
    # More than the burst, but within the amount: such a charge needs an empty meter.
    cap = burst if cost <= burst else max(burst, min(cost, amount))
    if used + cost <= cap and (cost or used < cap):
        return 0, level
    return NEVER if cost > amount else max(1, ceil((used + cost - cap) * period / amount)), level


def meter_settled(used: float, difference: int, amount: int, debt: float) -> float:
    """What is used after a settlement: not less than nothing, and no debt beyond a share of the amount."""
    changed = used + difference
    if difference < 0:
        return changed if changed > 0 else 0.0
    return min(changed, max(used, amount * (1 + debt)))


def judge_window(limit: Limit, cost: int, used: int, now: int) -> tuple[int, Level]:
    """As `judge_meter`. Nothing of a window comes back before its end."""
    _, _, amount, period, _ = limit
    level = _new(Level, (used, period - now))
    if used + cost <= amount and (cost or used < amount):
        return 0, level
    return NEVER if cost > amount else max(1, period - now), level


def window_end(limit: Limit) -> int:
    """Until when it has to be remembered: then no late settlement can be meant for it any more."""
    return limit.period + _LATE


def judge_lease(limit: Limit, cost: int, live: int) -> tuple[int, Level]:
    """As `judge_meter`."""
    return LEASE_WAIT if live + cost > limit.amount else 0, _new(Level, (live, 0))


def deciding(waits: Sequence[int]) -> int:
    """Index of the wait that decides: of the last that never ends, else of the first of the longest."""
    never = [index for index, wait in enumerate(waits) if wait == NEVER]
    return never[-1] if never else waits.index(max(waits))
