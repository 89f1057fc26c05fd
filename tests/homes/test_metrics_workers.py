"""Metrics of several worker processes behind one port, under a real uvicorn."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from crplugins.homes.metrics_multiprocess import multiprocess_directory
from crplugins.plugins.metrics_workers import DIRECTORY_VARIABLE, is_one_of_several, sweep

CHECKOUT = Path(__file__).parents[2]
HELLO = [{"role": "user", "content": "hi"}]


@dataclass
class Server:
    """A client's view of the two workers. Every request has a connection of its own, so that both get some."""

    url: str
    directory: Path
    process: subprocess.Popen[str]
    session: aiohttp.ClientSession

    def ask(self, model: str = "m") -> Any:
        return self.session.post(f"{self.url}/v1/chat/completions", json={"model": model, "messages": HELLO})

    async def answered_by(self, model: str = "m") -> int:
        async with self.ask(model) as response:
            return int(response.headers["x-pid"])

    async def scrape(self) -> dict[str, float]:
        """Sums over labels, by sample name."""
        async with self.session.get(f"{self.url}/metrics") as response:
            assert response.status == 200
            text = await response.text()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0) + sample.value
        return sums

    async def until(self, name: str, value: float, within: float = 20.0) -> None:
        """Scrape until it shows `value`."""
        give_up = time.monotonic() + within
        while (shown := (await self.scrape()).get(name)) != value:
            assert time.monotonic() < give_up, f"{name} is {shown}, not {value}"
            await asyncio.sleep(0.05)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.homes.metrics_server", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != DIRECTORY_VARIABLE}
    process = subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


async def reached(process: subprocess.Popen[str], stack: AsyncExitStack) -> Server:
    """Once both workers have answered."""
    assert process.stdout is not None
    port, directory = (await asyncio.to_thread(process.stdout.readline)).split()
    connector = aiohttp.TCPConnector(force_close=True)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    server = Server(f"http://127.0.0.1:{port}", Path(directory), process, session)
    return server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    with started() as process:
        async with AsyncExitStack() as stack:
            yield await reached(process, stack)
