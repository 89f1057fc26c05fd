"""Several processes whose requests wait for one limit of a shared store: never more than the limit, and fair."""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import seed
from typing import Any

import pytest

from crplugins.limits.limit import Charge
from crplugins.limits.memory import MemoryStore
from tests.limits.queue_processes import LIMIT, PATIENCE, SIZES
from tests.limits.queue_setup import Desk, meter
from tests.limits.virtual_time import clock, run
from tests.redis_setup import redis_process  # noqa: F401  # a fixture
from tests.warm import PYTHON

CHECKOUT = Path(__file__).parents[2]
LARGEST = max(SIZES)
RATE = LIMIT.amount / 60


class Processes:
    def __init__(self, url: str, keys: Sequence[Mapping[str, float]]) -> None:
        pipe = subprocess.PIPE
        self._all = [
            subprocess.Popen(
                [*PYTHON.command, "-m", "tests.limits.queue_processes", url, f"{number}-", json.dumps(each)],
                stdin=pipe, stdout=pipe, text=True, cwd=CHECKOUT,
            )
            for number, each in enumerate(keys)
        ]  # fmt: skip

    def run(self) -> list[list[Any]]:
        """What each process was admitted, once all are ready."""
        for process in self._all:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in self._all:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [json.loads(process.communicate(timeout=60)[0]) for process in self._all]

    def kill(self) -> None:
        for process in self._all:
            process.kill()
            process.communicate()


@pytest.fixture(params=["redis", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/limits.db"
    else:
        server = request.getfixturevalue("redis_process")
        server.command("FLUSHALL")
        yield server.url


def served(url: str, keys: Sequence[Mapping[str, float]]) -> list[list[Any]]:
    processes = Processes(url, keys)
    try:
        found = processes.run()
    finally:
        processes.kill()
    moments = sorted((moment, size) for process in found for _, size, moment, _ in process)
    total, began = sum(size for _, size in moments), moments[0][0]
    assert total <= LIMIT.burst + RATE * (moments[-1][0] - began + 0.2), "above the limit"
    assert total >= 0.6 * RATE * (moments[-1][0] - began), "the limit is used, on a busy machine too"
    return found


def tokens(admitted: Sequence[Any]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for key, size, _, waited in admitted:
        if waited:
            counted[key] += size
    return counted


def test_four_processes_serve_keys_of_weight_1_and_3_within_one_largest_request_of_each_and_process(url: str) -> None:
    found = served(url, [{"a": 1, "b": 3}] * 4)
    total: Counter[str] = Counter()
    for admitted in found:
        total += tokens(admitted[16:])  # from when both keys wait
    assert abs(total["a"] - total["b"] / 3) <= 4 * (LARGEST + LARGEST / 3)
    assert total["b"] > 5 * LARGEST


def test_no_process_is_left_out_though_each_has_a_key_of_its_own(url: str) -> None:
    found = served(url, [{"a": 1}, {"b": 1}, {"c": 1}, {"d": 1}])
    shares = [sum(tokens(admitted).values()) for admitted in found]
    assert min(shares) >= 0.2 * max(shares), shares


class Shared:
    """A store of several processes, which nobody can settle in without waiting."""

    def __init__(self) -> None:
        store = MemoryStore(clock=clock)
        self.reserve, self.settle, self.levels = store.reserve, store.settle, store.levels


@pytest.mark.parametrize(("heavy_weight", "heavy_size"), [(3, 60), (1, 60)])
def test_keys_in_processes_of_their_own_are_served_by_weight_on_the_average(heavy_weight: int, heavy_size: int) -> None:
    """Two processes in one, in virtual time."""

    async def main() -> Counter[str]:
        store, served = Shared(), Counter[str]()
        limit, end = meter(60_000, burst=3_000), 120.0
        now = asyncio.get_running_loop().time

        async def client(desk: Desk, key: str, weight: float, size: int) -> None:
            while now() < end:
                request, decision = await desk.ask(Charge(limit, size), key=key, weight=weight, queue=PATIENCE)
                if decision.refused is None and request.wait is not None:
                    served[key] += size

        async with asyncio.TaskGroup() as clients:
            for key, weight, size in (("light", 1, 60), ("heavy", heavy_weight, heavy_size)):
                desk = Desk(store, name=key)
                for _ in range(6):
                    clients.create_task(client(desk, key, weight, size))
        return served

    seed(4)
    served = run(main())
    assert 0.95 * 120_000 <= served.total() <= 124_000
    assert served["heavy"] / served["light"] == pytest.approx(heavy_weight, rel=0.25)
