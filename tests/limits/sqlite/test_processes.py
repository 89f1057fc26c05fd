"""Several processes with one file: exactly as much is admitted as the limits allow, and the dead give back."""

import json
import random
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from crplugins.limits.limit import Limit, Reservation
from crplugins.limits.sqlite.store import SqliteStore
from crplugins.limits.store import LEASE_MILLISECONDS
from tests.limits.processes import DAY, END, LIMITS
from tests.warm import PYTHON

CHECKOUT = Path(__file__).parents[2]
KINDS = ("meter", "tokens", "window", "lease")


class Process:
    def __init__(self, deed, path, name, *kinds):
        command = [*PYTHON.command, "-m", "tests.limits.processes", deed, str(path), name, *kinds]
        self.running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT, text=True, bufsize=1
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.running.kill()
        self.running.communicate(timeout=30)

    def hear(self):
        return self.running.stdout.readline().strip()

    def tell(self):
        self.running.stdin.write("\n")

    def kill(self):
        """What it has said and nobody has heard."""
        self.running.kill()
        return self.running.communicate(timeout=30)[0]


@pytest.mark.parametrize("kinds", [*[(kind,) for kind in KINDS], KINDS], ids="-".join)
def test_four_processes_with_200_concurrent_requests_each_get_exactly_50(tmp_path, kinds):
    with ExitStack() as stack:
        processes = [
            stack.enter_context(Process("request_at_once", tmp_path / "limits.db", f"process-{number}", *kinds))
            for number in range(4)
        ]
        assert [process.hear() for process in processes] == ["ready"] * 4
        for process in processes:
            process.tell()
        told = sum((Counter(json.loads(process.hear())) for process in processes), Counter())
    assert told["admitted"] == 50
    assert told.total() == 800


async def test_a_killed_process_gives_back_its_leases_in_the_time_of_a_lease_and_loses_no_more(tmp_path, monkeypatch):
    path = tmp_path / "limits.db"
    limits = [LIMITS[kind].limit for kind in KINDS]
    with Process("hold", path, "killed", *KINDS) as process:
        assert process.hear() == "ready"
        process.tell()
        assert process.hear() == "reserved"
        process.kill()
    now = int(time.time() * 1000)
    async with SqliteStore(path) as store:
        requests, tokens, budget, parallel = [level.used for level in await store.levels(limits)]
        assert requests in (0, 1)
        assert tokens in range(900, 1_001)  # some milliseconds have passed
        assert budget == parallel == 1
        steady = time.monotonic_ns
        monkeypatch.setattr(time, "monotonic_ns", lambda: steady() + LEASE_MILLISECONDS * 1_000_000)
        assert [level.used for level in await store.levels(limits[2:])] == [1, 0]
        assert not await store.settle(Reservation("killed", tuple(LIMITS.values())), [0, 0, 0, 1])
        gone = await store.levels(limits[:2], now=now + DAY // 50)
        assert [level.used for level in gone] == [0, 0]


@pytest.mark.parametrize("round_", range(4))
async def test_a_process_killed_at_any_moment_loses_at_most_the_reservation_it_was_at(tmp_path, round_, monkeypatch):
    path = tmp_path / "limits.db"
    with Process("use_without_end", path, "killed") as process:
        assert process.hear() == "ready"
        process.tell()
        time.sleep(random.uniform(0.05, 0.5))  # noqa: ASYNC251
        said = Counter(process.kill())
    assert said["r"] > 5
    async with SqliteStore(path) as store:
        (spent,) = await store.levels([Limit("window", "spent", 1, END)])
        possible = {10 * (r - s) + 3 * s for r in (0, 1) for s in (0, 1) if said["r"] + r - said["s"] - s in (0, 1)}
        assert spent.used - 10 * (said["r"] - said["s"]) - 3 * said["s"] in possible
        steady = time.monotonic_ns
        monkeypatch.setattr(time, "monotonic_ns", lambda: steady() + LEASE_MILLISECONDS * 1_000_000)
        assert (await store.levels([LIMITS["lease"].limit]))[0].used == 0
