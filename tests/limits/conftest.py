"""What the tests of limits share: real Redis servers, and something to reserve."""

import asyncio
import itertools
import time

from crplugins.limits.limit import Charge, Limit, Reservation
from tests.redis_setup import fragile_redis, redis, redis_process  # noqa: F401  # fixtures

numbers = itertools.count()

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
"""In which none of 50 drains while a test runs, however slowly."""


def meter(amount=50, *, key="key/a/requests", period=MINUTE, burst=None):
    return Limit("meter", key, amount, period, amount if burst is None else burst)


def window(amount, end, *, key="key/a/budget"):
    return Limit("window", f"{key}/{end}", amount, end)


def lease(amount=50, *, key="key/a/parallel"):
    return Limit("lease", key, amount)


def request(*charges):
    """A reservation under a new id. A limit alone is charged 1."""
    charges = tuple([charge if isinstance(charge, Charge) else Charge(charge, 1) for charge in charges])
    return Reservation(f"request-{next(numbers)}", charges)


async def until(condition, seconds=60):
    """Waits for something that comes by itself."""
    end = time.monotonic() + seconds
    for _ in iter(lambda: bool(condition()), True):
        assert time.monotonic() < end, "it has not come"
        await asyncio.sleep(0.005)
