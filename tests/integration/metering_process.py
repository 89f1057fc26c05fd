"""The gateway as a process of its own under a steady load, and its ledger as the database has it."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import asyncpg

from crplugins.testing import FakeProvider
from tests.integration.metering_setup import HELLO, PATH
from tests.warm import warm_crplugins

KEY = "sk-process-client-0123456789"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "CRPLUGINS_CONFIG"}


class GatewayProcess:
    """`crplugins serve` in a folder with a configuration for one model, `m`."""

    def __init__(self, folder: Path, provider: FakeProvider, ledger_url: str) -> None:
        self._folder = folder
        self.url = ""
        base = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream-9876543210"}
        config = {
            "model_list": [{"model_name": "m", "litellm_params": base, "handler": "direct"}],
            "keys": [{"id": "team-a", "secret": KEY}],
            "ledger": {"url": ledger_url, "commit_seconds": 0},
            "metrics": {"token": None},
            "server": {"port": 0},
        }
        (folder / "gateway.yaml").write_text(json.dumps(config))  # JSON is YAML

    @property
    def log(self) -> str:
        return (self._folder / "stderr").read_text()

    async def start(self) -> None:
        with (self._folder / "stderr").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *warm_crplugins("serve"), cwd=self._folder, env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            line = (await self._process.stdout.readline()).decode()
        assert "http://" in line, self.log
        self.url = next(word for word in line.split() if word.startswith("http://"))

    async def end(self, number: signal.Signals) -> int:
        """Send a signal; the exit code."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(60):
            await self._process.communicate()  # the end of its output is its own
            return await self._process.wait()

    async def close(self) -> None:
        if self.url and self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()


@asynccontextmanager
async def gateway_process(folder: Path, ledger_url: str) -> AsyncIterator[tuple[GatewayProcess, FakeProvider]]:
    async with FakeProvider() as provider:
        gateway = GatewayProcess(folder, provider, ledger_url)
        await gateway.start()
        try:
            yield gateway, provider
        finally:
            await gateway.close()


@dataclass
class Asked:
    """One request of the load. `complete`: the client has all of the answer, [DONE] or the whole document."""

    marker: str
    stream: bool
    began: float
    took: float = 0.0
    status: int | None = None
    request_id: str | None = None
    complete: bool = False
    failure: str | None = None

    @property
    def ended(self) -> float:
        return self.began + self.took


@dataclass
class Load:
    """Clients that send `rate` requests a second, however long the answers take. Every other one streams."""

    gateway: GatewayProcess
    prefix: str = "p"
    rate: float = 200.0
    asked: list[Asked] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _one_more: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def complete(self) -> list[Asked]:
        return [one for one in self.asked if one.complete]

    @property
    def failed(self) -> list[Asked]:
        return [one for one in self.asked if one.failure is not None or not one.complete]

    async def answered(self, count: int) -> None:
        """Returns once so many clients have their whole answer."""
        async with asyncio.timeout(60):
            while len(self.complete) < count:
                self._one_more.clear()
                await self._one_more.wait()

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set, and then until the last answer is over."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
            begun, number = time.monotonic(), 0
            while not stopping.is_set():
                due = begun + number / self.rate
                await asyncio.sleep(max(due - time.monotonic(), 0))
                number += 1
                self._spawn(session)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, session: aiohttp.ClientSession) -> None:
        one = Asked(f"{self.prefix}{len(self.asked):06}", len(self.asked) % 2 == 0, time.monotonic())
        self.asked.append(one)
        task = asyncio.create_task(self._ask(session, one))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, session: aiohttp.ClientSession, one: Asked) -> None:
        body = {"model": "m", "messages": HELLO, "user": one.marker, "stream": one.stream}
        try:
            async with session.post(
                self.gateway.url + PATH, json=body, headers={"authorization": f"Bearer {KEY}"}
            ) as response:
                one.status, one.request_id = response.status, response.headers["x-request-id"]
                answer = b""
                async for piece in response.content.iter_any():
                    answer += piece
                    one.complete = one.complete or (one.stream and b"data: [DONE]\n\n" in answer)
                one.complete = one.complete or not one.stream
                if response.status != 200 or b'"error"' in answer:
                    one.failure = f"{response.status}: {answer[-200:]!r}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            one.failure = repr(error)
        one.took = time.monotonic() - one.began
        self._one_more.set()


@dataclass(frozen=True)
class Books:
    """What the database has: the rows by marker, their ids, and the requests of the daily sums."""

    markers: Counter[str]
    ids: frozenset[str]
    daily: int

    def missing(self, asked: list[Asked]) -> list[str]:
        return [one.marker for one in asked if self.markers[one.marker] != 1 or one.request_id not in self.ids]


async def books_of(url: str) -> Books:
    rows = await _query(url, 'SELECT request_id, "user" FROM usage')
    [(daily,)] = await _query(url, "SELECT COALESCE(SUM(requests), 0) FROM usage_daily")
    return Books(Counter(row[1] for row in rows), frozenset(row[0] for row in rows), int(daily))


async def books_with(url: str, asked: list[Asked], within: float) -> Books:
    """The books as soon as all of these are in them, or when the time is over."""
    until = time.monotonic() + within
    while True:
        books = await books_of(url)
        if not books.missing(asked) or time.monotonic() > until:
            return books
        await asyncio.sleep(0.1)


async def _query(url: str, statement: str) -> list[tuple[object, ...]]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(statement).fetchall()
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row.values()) for row in await connection.fetch(statement)]
    finally:
        await connection.close()
