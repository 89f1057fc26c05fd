"""What RedisStore costs: six limits reserved and settled, on a server of this machine, by one client and by 64."""

import asyncio
import statistics
import time
from collections.abc import Iterator

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.redis.store import RedisStore
from tests.redis_setup import RedisServer

PAIRS = 4000
ROUNDS = 5

CHARGES = (
    Charge(Limit("meter", "key/a/requests/60000", 10**9, 60_000, 10**9), 1),
    Charge(Limit("meter", "key/a/tokens/60000", 10**9, 60_000, 10**9), 1500),
    Charge(Limit("meter", "key/a/requests/86400000", 10**9, 86_400_000, 10**9), 1),
    Charge(Limit("meter", "model/m/tokens/60000", 10**9, 60_000, 10**9), 1500),
    Charge(Limit("window", "key/a/budget", 10**15, 4_000_000_000_000), 300),
    Charge(Limit("lease", "key/a/parallel", 10**6), 1),
)
COSTS = (1, 700, 1, 700, 120, 1)


async def _client(store: RedisStore, numbers: Iterator[int], seconds: list[float]) -> None:
    for number in numbers:
        reservation = Reservation(str(number), CHARGES)
        began = time.perf_counter()
        await store.reserve(reservation)
        await store.settle(reservation, COSTS)
        seconds.append(time.perf_counter() - began)


async def _round(store: RedisStore, clients: int) -> tuple[float, float, float]:
    """Pairs per second, the median of a pair and this process's CPU for one, in microseconds."""
    numbers, seconds = iter(range(PAIRS)), list[float]()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*[_client(store, numbers, seconds) for _ in range(clients)])
    spent = (time.process_time() - cpu) / PAIRS
    return PAIRS / (time.perf_counter() - began), statistics.median(seconds) * 1e6, spent * 1e6


async def _run(url: str) -> None:
    async with RedisStore(url, seconds=1) as store:
        for clients in (1, 64):
            await _round(store, clients)
            rounds = [await _round(store, clients) for _ in range(ROUNDS)]
            pairs, median, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
            what = f"Redis, six limits, reserve + settle, {clients} at once"
            print(f"{what:46} {pairs:7.0f} pairs/s  p50 {median:7.0f} us  {cpu:5.0f} us of CPU", flush=True)


def redis() -> None:
    server = RedisServer()
    server.start()
    try:
        asyncio.run(_run(server.url))
        figures = server.command("INFO", "commandstats").decode().partition("cmdstat_evalsha:")[2].splitlines()[0]
        print(
            f"{'Redis, six limits, its own time for a script':46} {figures.split('usec_per_call=')[1].split(',')[0]} us"
        )
    finally:
        server.close()


if __name__ == "__main__":
    redis()
