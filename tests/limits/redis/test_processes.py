"""Several processes with one Redis server: exact limits, and leases that do not outlive the process that held them."""

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from crplugins.limits.limit import Limit
from crplugins.limits.redis.store import RedisStore
from tests.limits.conftest import lease, meter, request
from tests.warm import PYTHON

CHECKOUT = Path(__file__).parents[2]

AT_ONCE = """
import asyncio, sys
from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.redis.store import RedisStore

async def main(url, process):
    async with RedisStore(url, seconds=5) as store:  # exact or nothing: a slow machine is not the subject
        for run, line in enumerate(sys.stdin):
            charges = tuple(Charge(limit, cost) for limit, cost in eval(line))
            made = [Reservation(f"{process}-{run}-{number}", charges) for number in range(200)]
            decisions = await asyncio.gather(*map(store.reserve, made))
            print(sum(decision.refused is None for decision in decisions), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""

HOLD = """
import asyncio, sys
from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.reservations import LiveReservations
from crplugins.limits.redis.store import RedisStore

async def main(url, milliseconds):
    async with RedisStore(url, seconds=2) as store, LiveReservations(store, milliseconds) as live:
        for number in range(5):
            reservation = Reservation(f"held-{number}", (Charge(Limit("lease", "key/a/parallel", 5), 1),))
            assert (await store.reserve(reservation, lease=milliseconds)).refused is None
            live.add(reservation)
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

DAY = Limit("window", "key/a/day", 50, 4_000_000_000_000)
LIMITS = {
    "meter": [(meter(50, period=86_400_000), 1)],
    "tokens": [(meter(75_499, key="key/a/tokens", period=86_400_000), 1500)],
    "window": [(DAY, 1)],
    "lease": [(lease(50), 1)],
    "all": [(meter(60, period=86_400_000), 1), (DAY, 1), (lease(55), 1), (meter(10**9, key="key/b/tokens"), 1500)],
}


class Worker:
    """A process that is told something on a line and answers on a line."""

    def __init__(self, code, *arguments):
        command = [*PYTHON.command, "-c", code, *map(str, arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=CHECKOUT)

    def tell(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().strip()

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def workers(redis_process):
    workers = [Worker(AT_ONCE, redis_process.url, number) for number in range(4)]
    yield workers
    for worker in workers:
        worker.kill()


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("run", range(5))
def test_800_requests_of_four_processes_at_once_are_admitted_50_times(redis, workers, kind, run):
    for worker in workers:
        worker.tell(LIMITS[kind])
    admitted = [int(worker.answer()) for worker in workers]
    assert sum(admitted) == 50, admitted


async def test_the_leases_of_a_process_that_is_killed_are_free_after_the_length_of_one(redis):
    length = 0.9
    worker = Worker(HOLD, redis.url, round(length * 1000))
    assert await asyncio.to_thread(worker.answer) == "ready"
    async with RedisStore(redis.url, seconds=30) as store:
        await asyncio.sleep(length * 4 / 3)
        assert (await store.reserve(request(lease(5)))).refused == 0  # renewed
        worker.kill()
        killed = time.monotonic()
        async with asyncio.timeout(60):
            while (await store.reserve(request(lease(5)))).refused is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert time.monotonic() - killed > length / 2  # renewed each third of it, until the end
