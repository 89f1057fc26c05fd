"""Several processes on a machine that is busy with other things: a Redis server that is slow is not taken for dead.

With LONG_TESTS=1 fifty rounds are tried.
"""

import subprocess
import sys

import pytest

from tests.limits.conftest import meter
from tests.limits.redis.test_processes import Worker
from tests.long import times

ROUNDS, SPINNING = times(1, 50), times(3, 12)

AT_ONCE = """
import asyncio, sys
from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.outage import GuardedStore
from crplugins.limits.redis.store import RedisStore

async def main(url, process):
    async with GuardedStore(RedisStore(url)) as store:
        for run, line in enumerate(sys.stdin):
            charges = (Charge(eval(line), 1),)
            made = [Reservation(f"{process}-{run}-{number}", charges) for number in range(50)]
            decisions = await asyncio.gather(*map(store.reserve, made))
            print(sum(decision.refused is None for decision in decisions), store.failures, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def busy():
    """Processes that do nothing but work, more than the machine has cores."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(SPINNING)]
    yield
    for process in spinning:
        process.kill()
        process.wait()


def test_a_limit_of_50_admits_50_of_200_however_busy_the_machine_is(redis, busy):
    workers = [Worker(AT_ONCE, redis.url, number) for number in range(4)]
    try:
        for number in range(ROUNDS):
            for worker in workers:
                worker.tell(meter(50, key=f"key/{number}/requests", period=86_400_000))
            answers = [worker.answer().split() for worker in workers]
            assert sum(int(admitted) for admitted, _ in answers) == 50, answers
    finally:
        for worker in workers:
            worker.kill()
