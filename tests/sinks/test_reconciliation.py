"""What a consumer sums up is what the ledger does, to the token, whatever happened to brokers, workers and consumers."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import duckdb
import pytest

from crplugins.ledger.waiting import read_waiting
from crplugins.testing import FakeProvider
from tests.long import times
from tests.sinks.conftest import NAME, until
from tests.warm import INSTALLED
from tests.workers import workers_of

pytestmark = pytest.mark.slow

CONSUMER = Path(__file__).parents[2] / "examples" / "usage_consumer" / "to_duckdb.py"
REQUESTS = times(200, 2_000)
MODELS = ("cheap", "dear")
KEYS = {f"key-{number}": f"sk-reconciled-{number}-0123456789" for number in range(5)}

SUMS = """
SELECT key_id, requested_model, outcome, usage_source, stream, count(*), count(DISTINCT request_id), sum(input_tokens),
    sum(output_tokens), sum(cached_input_tokens), sum(reasoning_output_tokens), sum(cost_micro_usd)
FROM usage GROUP BY ALL ORDER BY ALL
"""


def configured(place, base: str) -> dict:
    params = {"model": "openai/up", "api_base": base, "api_key": "sk-up-of-test", "num_retries": 0}
    prices = [{"input_cost_per_token": factor * 1e-6, "output_cost_per_token": factor * 3e-6} for factor in (1, 10)]
    return {
        "model_list": [
            {"model_name": name, "litellm_params": params, "model_info": price, "handler": "direct"}
            for name, price in zip(MODELS, prices, strict=True)
        ],
        "keys": [{"id": name, "secret": secret} for name, secret in KEYS.items()],
        "ledger": {"url": "sqlite:///usage.db"},
        "sinks": place.words,
        "metrics": {"token": None},
    }


class Clients:
    """Each request on a connection of its own, so that both workers have some."""

    def __init__(self, base: str) -> None:
        self.base, self.sent, self.done = base, 0, 0
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16, force_close=True))

    async def __aenter__(self) -> "Clients":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def ask(self, number: int) -> None:
        await asyncio.gather(*(self._one() for _ in range(number)))

    async def _one(self) -> None:
        self.sent += 1
        number = self.sent
        headers = {"authorization": f"Bearer {[*KEYS.values()][number % len(KEYS)]}"}
        messages = [{"role": "user", "content": "word " * (number % 50 + 1)}]
        body = {"model": MODELS[number % 2], "messages": messages, "stream": number % 3 == 0, "n": number % 7 or 1}
        body["temperature"] = 1 if number % 7 else 7  # which is refused
        try:
            async with self._session.post(f"{self.base}/v1/chat/completions", json=body, headers=headers) as answer:
                await answer.read()
        except aiohttp.ClientError:  # its worker has been killed
            return
        finally:
            self.done += 1

    async def metric(self, name: str) -> float:
        async with self._session.get(f"{self.base}/metrics", params={"name[]": name}) as answer:
            text = await answer.text()
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#"))


@asynccontextmanager
async def serving(folder: Path):
    """Two workers, and where they are."""
    command = [INSTALLED, "serve", "--port", "0", "--workers", "2"]
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=subprocess.PIPE)
    try:
        yield process, re.search(r"http://\S+", (await process.stdout.readline()).decode())[0]
    finally:
        process.terminate()
        await process.wait()


def waiting(spools: list[Path]) -> int:
    """How many records are in journals and spools."""
    return sum(len(read_waiting(spool).lines) for spool in spools)


async def consume(place, file: Path, *, killed: bool = False) -> None:
    """The example, to its end, or killed in the midst of its work."""
    command = [sys.executable, CONSUMER, file, place.source, "--name", NAME, "--once"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    if killed:
        await until(lambda: file.exists() and file.stat().st_size)
        await asyncio.sleep(0)
        process.kill()
        await process.wait()
    else:
        assert await process.wait() == 0


async def test_a_consumer_sums_up_what_the_ledger_does(place, tmp_path):
    async with FakeProvider() as provider:
        (tmp_path / "gateway.yaml").write_text(json.dumps(configured(place, provider.base_url)))
        async with serving(tmp_path) as (process, base), Clients(base) as clients:
            await clients.ask(REQUESTS // 4)
            await place.leave()
            await clients.ask(REQUESTS // 4)
            asking = asyncio.create_task(clients.ask(REQUESTS // 4))
            await until(lambda: clients.done > 0.6 * REQUESTS)
            os.kill(min(workers_of(process.pid)), signal.SIGKILL)
            await asking
            process.send_signal(signal.SIGHUP)
            await place.back()
            await clients.ask(REQUESTS - clients.sent)
            assert await clients.metric("crplugins_sink_dropped_records_total") == 0
        async with serving(tmp_path):  # has what the killed worker has left
            spools = [tmp_path / "usage.db.spool", *(tmp_path / f"crplugins-{kind}.spool" for kind in place.words)]
            for _ in range(1_200):
                if not await asyncio.to_thread(waiting, spools):
                    break
                await asyncio.sleep(0.1)
    left = [*tmp_path.glob("*.journal")]
    assert not left, "nothing waits any more"
    with sqlite3.connect(tmp_path / "usage.db") as ledger:
        ids = {row[0] for row in ledger.execute("SELECT request_id FROM usage")}
    ledger.close()
    assert REQUESTS / 2 < len(ids) <= REQUESTS  # those that the killed worker had are nowhere
    file = tmp_path / "consumed.duckdb"
    await consume(place, file, killed=True)
    await consume(place, file)
    await consume(place, file)  # and once more, which adds nothing
    with duckdb.connect(file) as consumed:
        assert {row[0] for row in consumed.execute("SELECT request_id FROM usage").fetchall()} == ids
        sums = consumed.execute(SUMS).fetchall()
    assert sums == ledger_sums(tmp_path / "usage.db")


def ledger_sums(file: Path) -> list[tuple]:
    statement = SUMS.replace("GROUP BY ALL ORDER BY ALL", "GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5")
    with sqlite3.connect(file) as ledger:
        rows = [tuple(row) for row in ledger.execute(statement)]
    ledger.close()
    return rows
