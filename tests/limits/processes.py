"""What each of several processes does with one limit store: `python -m tests.limits.processes DEED PATH ...`.

It says when it is ready, and begins when it is told.
"""

import asyncio
import json
import sys
from collections import Counter

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.sqlite.store import SqliteStore
from crplugins.limits.store import StoreUnavailable

END = 4_000_000_000_000
DAY = 86_400_000
LIMITS = {
    "meter": Charge(Limit("meter", "key/a/requests", 50, DAY, 50), 1),
    "tokens": Charge(Limit("meter", "key/a/tokens", 50_000, DAY, 50_000), 1_000),
    "window": Charge(Limit("window", f"key/a/budget/{END}", 50, END), 1),
    "lease": Charge(Limit("lease", "key/a/parallel", 50), 1),
}


def say(text):
    print(text, flush=True)


def wait_to_be_told():
    say("ready")
    sys.stdin.readline()


async def request_at_once(store, name, kinds):
    """200 concurrent requests against 50. Says how many were admitted, refused, and got no answer."""

    async def outcome(number):
        try:
            decision = await store.reserve(Reservation(f"{name}-{number}", tuple(LIMITS[kind] for kind in kinds)))
        except StoreUnavailable:
            return "unavailable"
        return "admitted" if decision.refused is None else "refused"

    say(json.dumps(Counter(await asyncio.gather(*[outcome(number) for number in range(200)]))))


async def hold(store, name, kinds):
    """Reserves one of each, and says so."""
    await store.reserve(Reservation(name, tuple(LIMITS[kind] for kind in kinds)))
    say("reserved")


async def use_without_end(store, name, _kinds):
    """Reserves 10 and settles with 3, again and again, and says each."""
    charge = Charge(Limit("window", "spent", 10**12, END), 10)
    for number in range(sys.maxsize):
        reservation = Reservation(f"{name}-{number}", (charge, LIMITS["lease"]))
        await store.reserve(reservation)
        say("r")
        await store.settle(reservation, [3, 1])
        say("s")


async def main(deed, path, name, *kinds):
    async with SqliteStore(path) as store:
        await asyncio.to_thread(wait_to_be_told)
        await globals()[deed](store, name, kinds)
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
