"""The arithmetic of limits: what time leaves of a use, what is admitted, what a settlement changes.

Pure functions of state, time and cost, in doubles and in the order of operations of `lua/*.lua`, so that all stores
decide alike to the last bit. Moments and lengths are milliseconds, moments since 1970.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import Final

from crplugins.limits.limit import NEVER, Level, Limit

Meter = tuple[float, float, float]
"""What was used of a meter, when that was so, and until when it has to be remembered."""

LEASE_WAIT: Final = 1_000
"""When to come back for a lease. Nobody knows how long the others' requests take."""

_DRAINED: Final = 1_000
_LATE: Final = 60_000
"""How much longer than it matters the state of a meter and of a window is kept, for clocks that differ."""


def decayed(state: Meter | None, limit: Limit, now: int) -> float:
    """What is still used of a meter. A clock that goes back lets nothing decay."""
    if state is None:
        return 0.0
    used, at, _ = state
    elapsed = now - at
    if elapsed <= 0:
        return used
    left = used - elapsed * limit.amount / limit.period
    return left if left > 0 else 0.0


def meter(limit: Limit, used: float, now: int) -> Meter:
    """The state of a meter of which `used` is used now."""
    return used, float(now), now + used * limit.period / limit.amount + _DRAINED


def meter_level(limit: Limit, used: float) -> Level:
    return Level(floor(used), ceil(used * limit.period / limit.amount))


def meter_wait(limit: Limit, cost: int, used: float) -> int:
    """Until a charge would be admitted; 0 if it is, `NEVER` if it never will be."""
    _, _, amount, period, burst = limit
    # More than the burst, but within the amount: such a charge needs an empty meter.
    cap = burst if cost <= burst else max(burst, min(cost, amount))
    if used + cost <= cap and (cost or used < cap):
        return 0
    return NEVER if cost > amount else max(1, ceil((used + cost - cap) * period / amount))


def meter_settled(used: float, difference: int, amount: int, debt: float) -> float:
    """What is used after a settlement: not less than nothing, and no debt beyond a share of the amount."""
    changed = used + difference
    if difference < 0:
        return changed if changed > 0 else 0.0
    return min(changed, max(used, amount * (1 + debt)))


def window_wait(limit: Limit, cost: int, used: int, now: int) -> int:
    """As `meter_wait`: nothing of a window comes back before its end."""
    if used + cost <= limit.amount and (cost or used < limit.amount):
        return 0
    return NEVER if cost > limit.amount else max(1, limit.period - now)


def window_forgotten(limit: Limit) -> int:
    """When no late settlement can be meant for it any more."""
    return limit.period + _LATE


def lease_wait(limit: Limit, cost: int, live: int) -> int:
    return LEASE_WAIT if live + cost > limit.amount else 0


def deciding(waits: Sequence[int]) -> int:
    """Index of the wait that decides: of the last that never ends, else of the first of the longest."""
    never = [index for index, wait in enumerate(waits) if wait == NEVER]
    return never[-1] if never else waits.index(max(waits))
