"""What a request's limits cost, six of them reserved and settled: `python -m tests.bench.limits`."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.sqlite.store import SqliteStore
from crplugins.limits.store import LimitStore

ROUNDS = 15
PROCESSES = 4
SIX = (
    Charge(Limit("meter", "key/a/requests/60000", 10**9, 60_000, 10**9), 1),
    Charge(Limit("meter", "key/a/tokens/60000", 10**12, 60_000, 10**12), 1_500),
    Charge(Limit("meter", "team/x/requests/60000", 10**9, 60_000, 10**9), 1),
    Charge(Limit("meter", "model/m/tokens/60000", 10**12, 60_000, 10**12), 1_500),
    Charge(Limit("window", "key/a/budget/4000000000000", 10**15, 4_000_000_000_000), 900),
    Charge(Limit("lease", "key/a/parallel", 10_000), 1),
)
COSTS = (1, 1_234, 1, 1_234, 700, 1)


async def pair(store: LimitStore, name: str) -> None:
    reservation = Reservation(name, SIX)
    await store.reserve(reservation)
    await store.settle(reservation, COSTS)


async def in_memory() -> float:
    """CPU microseconds of a pair, the best of the rounds: all else is another process's."""
    store, number, best = MemoryStore(), 2_000, float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        for index in range(number):
            await pair(store, str(index))
        best = min(best, (time.process_time() - before) / number)
    return best * 1e6


async def in_a_file(path: Path, concurrency: int, number: int) -> tuple[float, list[float]]:
    """Pairs per second and seconds of each, with that many requests at once."""
    took: list[float] = []

    async def some(store: LimitStore, worker: int) -> None:
        for index in range(number // concurrency):
            before = time.perf_counter()
            await pair(store, f"{id(took)}-{worker}-{index}")
            took.append(time.perf_counter() - before)

    async with SqliteStore(path) as store:
        before = time.perf_counter()
        await asyncio.gather(*[some(store, worker) for worker in range(concurrency)])
        return len(took) / (time.perf_counter() - before), sorted(took)


async def in_processes(path: Path, processes: int) -> float:
    """Pairs per second of several processes, each with 64 requests at once."""
    command = [sys.executable, "-m", "tests.bench.limits", str(path)]
    running = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(processes)]
    said = [float((await process.communicate())[0]) for process in running]
    return sum(said)


def limits() -> None:
    """In memory, and in a file that one process and several use."""
    print(f"six limits, reserve and settle, in memory      {asyncio.run(in_memory()):.1f} us", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "limits.db"
        for concurrency, number in ((1, 1_000), (64, 6_400)):
            rounds = [asyncio.run(in_a_file(path, concurrency, number)) for _ in range(5)]
            rate, took = max(rounds)
            middle, late = statistics.median(took), took[len(took) * 99 // 100]
            what = f"in a file, {concurrency} at once"
            print(f"{what:46} {rate:.0f} pairs/s, p50 {middle * 1e6:.0f} us, p99 {late * 1e6:.0f} us", flush=True)
        rate = asyncio.run(in_processes(path, PROCESSES))
        print(f"in a file, {PROCESSES} processes with 64 at once each    {rate:.0f} pairs/s", flush=True)


def main(arguments: Sequence[str]) -> None:
    if not arguments:
        limits()
        return
    rate, _ = asyncio.run(in_a_file(Path(arguments[0]), 64, 6_400))
    print(rate)


if __name__ == "__main__":
    main(sys.argv[1:])
