"""Metrics of several worker processes behind one port, under a real uvicorn."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from crplugins.core.processes import METRICS_DIRECTORY_VARIABLE
from crplugins.plugins.metrics.directory import multiprocess_directory, sweep

CHECKOUT = Path(__file__).parents[2]
HELLO = [{"role": "user", "content": "hi"}]


@dataclass
class Server:
    """A client's view of the workers. Every request has a connection of its own, so that each of them gets some."""

    url: str
    directory: Path
    session: aiohttp.ClientSession
    asked: int = 0
    workers: set[int] = field(default_factory=set)

    def _post(self, model: str) -> Any:
        return self.session.post(f"{self.url}/v1/chat/completions", json={"model": model, "messages": HELLO})

    async def ask(self) -> None:
        async with self._post("m") as response:
            assert response.status == 200
            await response.read()
            self.workers.add(int(response.headers["x-pid"]))
        self.asked += 1

    async def hold(self, stack: AsyncExitStack) -> int:
        """Open a stream that does not end; the process that holds it."""
        return int((await stack.enter_async_context(self._post("hang"))).headers["x-pid"])

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

    async def until(self, name: str, value: float, within: float = 60.0) -> None:
        """Scrape until it shows `value`."""
        give_up = time.monotonic() + within
        while (shown := (await self.scrape()).get(name)) != value:
            assert time.monotonic() < give_up, f"{name} is {shown}, not {value}"
            await asyncio.sleep(0.05)


@contextmanager
def started(log: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The server of `metrics_server.py`. Its stderr goes into a file: a pipe that nobody reads would stop it."""
    command = [sys.executable, "-m", "tests.homes.metrics_server", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != METRICS_DIRECTORY_VARIABLE}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # so that no worker outlives a supervisor that fails
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


async def reached(process: subprocess.Popen[str], stack: AsyncExitStack) -> Server:
    """Once both workers have answered."""
    assert process.stdout is not None
    port, directory = (await asyncio.to_thread(process.stdout.readline)).split()
    connector = aiohttp.TCPConnector(force_close=True)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    server = Server(f"http://127.0.0.1:{port}", Path(directory), session)
    while len(server.workers) < 2:
        with suppress(aiohttp.ClientConnectionError):  # not listening yet
            await server.ask()
        await asyncio.sleep(0.01)
    return server


@pytest.fixture
async def server(tmp_path) -> AsyncIterator[Server]:
    with started(tmp_path / "log") as process:
        async with AsyncExitStack() as stack:
            server = await reached(process, stack)
            yield server
    assert not await asyncio.to_thread(server.directory.exists)


async def test_every_scrape_shows_the_sum_of_all_workers(server):
    for _ in range(40):
        await server.ask()
    await server.until("crplugins_requests_total", server.asked)
    scrapes = [await server.scrape() for _ in range(6)]
    for shown in scrapes:
        assert shown["crplugins_requests_total"] == server.asked
        assert shown["crplugins_request_duration_seconds_count"] == server.asked
        assert shown["crplugins_input_tokens_total"] == 3 * server.asked
        assert shown["crplugins_build_info"] == 1
        assert shown["crplugins_requests_in_flight"] == 0


async def test_what_each_worker_knows_of_faults_and_ledger_is_added_up(server):
    await server.until("crplugins_hook_errors_total", server.asked)
    for _ in range(6):
        shown = await server.scrape()
        assert shown["crplugins_hook_errors_total"] == server.asked
        assert shown["crplugins_ledger_pending_records"] == 4
        assert shown["crplugins_ledger_dropped_records_total"] == 2


async def test_what_a_killed_worker_had_in_flight_returns(server):
    async with AsyncExitStack() as hanging:
        held = Counter([await server.hold(hanging) for _ in range(12)])
        assert (await server.scrape())["crplugins_requests_in_flight"] == 12
        victim, lost = held.most_common(1)[0]
        os.kill(victim, signal.SIGKILL)
        await server.until("crplugins_requests_in_flight", 12 - lost)
        while server.workers <= set(held):  # another worker takes its place
            with suppress(aiohttp.ClientConnectionError):
                await server.ask()
        await server.until("crplugins_requests_total", server.asked)
        assert (await server.scrape())["crplugins_requests_in_flight"] == 12 - lost


async def test_workers_that_count_alone_say_so_once(tmp_path):
    with started(tmp_path / "log", "alone") as process:
        async with AsyncExitStack() as stack:
            await reached(process, stack)
    said = (tmp_path / "log").read_text()
    assert said.count("several workers share this port") == 1
    assert METRICS_DIRECTORY_VARIABLE in said


def test_the_folder_of_a_server_is_its_own_and_goes_with_it(monkeypatch):
    monkeypatch.delenv(METRICS_DIRECTORY_VARIABLE, raising=False)
    with multiprocess_directory() as first:
        assert os.environ[METRICS_DIRECTORY_VARIABLE] == str(first)
        assert first.stat().st_mode & 0o777 == 0o700
        (first / "counter_1.db").write_bytes(b"")
    assert not first.exists()
    assert METRICS_DIRECTORY_VARIABLE not in os.environ


def test_a_folder_that_is_named_already_is_used_and_left(monkeypatch, tmp_path):
    monkeypatch.setenv(METRICS_DIRECTORY_VARIABLE, str(tmp_path))
    with multiprocess_directory() as directory:
        assert directory == tmp_path
    assert tmp_path.exists()
    assert os.environ[METRICS_DIRECTORY_VARIABLE] == str(tmp_path)


def test_only_live_gauges_of_dead_processes_are_swept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = {
        f"gauge_livesum_{os.getpid()}.db",
        f"counter_{dead.pid}.db",
        f"gauge_mostrecent_{dead.pid}.db",
        "gauge_live_x.db",
    }
    for name in (*kept, f"gauge_livesum_{dead.pid}.db", f"gauge_liveall_{dead.pid}.db"):
        (tmp_path / name).write_bytes(b"")
    sweep(tmp_path)
    sweep(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == kept


ONE_WORKER = """
import asyncio, os
from pathlib import Path
from prometheus_client.core import GaugeMetricFamily
from crplugins.plugins.metrics.plugin import Metrics
from tests.plugins.metrics.setup import SAMPLED, finished, run, samples, value

class Shared:
    def collect(self):
        yield GaugeMetricFamily("shared", "Shared.", value=7)

async def main():
    directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    (directory / f"gauge_livesum_{os.getpid()}.db").write_bytes(STALE)
    metrics = Metrics(["m"], ["team-a"])
    metrics.add_collector(Shared())
    await metrics.__aenter__()
    metrics._enter()
    run(metrics, finished(headers=[(b"traceparent", SAMPLED)]))
    (directory / "counter_1.db").touch()  # of a worker that is about to start
    assert value(metrics, "requests_in_flight") == 1
    assert value(metrics, "requests_total", model="m", key_id="team-a", code="200", error_type="") == 1
    assert value(metrics, "cost_usd_total", model="m", key_id="team-a") == 0.000171
    assert samples(metrics, ["shared"]) == {("shared", ()): 7}
    assert not any(sample.exemplar for family in metrics.exposed().collect() for sample in family.samples)
    assert [*directory.glob("gauge_live*")]
    await metrics.__aexit__(None, None, None)
    assert not [*directory.glob("gauge_live*")]
    assert value(metrics, "requests_total", model="m", key_id="team-a", code="200", error_type="") == 1

asyncio.run(main())
"""


def test_a_worker_begins_with_nothing_in_flight_and_leaves_nothing_behind(tmp_path):
    """Its pid may be that of one that was killed: in containers all are 7."""
    environment = {**os.environ, METRICS_DIRECTORY_VARIABLE: str(tmp_path)}
    stale = "from prometheus_client import Gauge; Gauge('crplugins_requests_in_flight', 'Requests that are not finished.', multiprocess_mode='livesum').inc(5)"
    subprocess.run([sys.executable, "-c", stale], env=environment, check=True, timeout=60)
    (file,) = tmp_path.glob("gauge_livesum_*.db")
    script = f"STALE = {file.read_bytes().rstrip(bytes(1)) + bytes(64)!r}\n{ONE_WORKER}"
    file.unlink()
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=CHECKOUT, check=True, timeout=60)
