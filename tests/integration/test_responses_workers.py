"""Two workers of one gateway: whichever is asked knows the ids of responses, each for the key alone that made it."""

import asyncio
import json
import re
import sqlite3
import subprocess
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import serving
from tests.foreign_server_setup import until
from tests.homes.keeping_provider import KeepingProvider
from tests.warm import INSTALLED
from tests.workers import answered_by, workers_of

KEYS = {name: f"sk-test-of-{name}-{'x' * 20}" for name in ("ann", "bob")}


@pytest.fixture(params=["a long key at the provider", "none"])
def credential(request: pytest.FixtureRequest) -> str:
    """What signs the ids: the gateway's key at the provider, or a secret that its processes share."""
    return "sk-account-of-the-gateway" if request.param.startswith("a") else "EMPTY"


class Gateway:
    """Its address, and its worker processes."""

    def __init__(self, process: Process, url: str) -> None:
        self._process = process
        self.url = url

    @property
    def workers(self) -> set[int]:
        return workers_of(self._process.pid)

    async def ready(self) -> bool:
        return len(self.workers) == 2 and all(status == 200 for status, _ in await self.ask_each("GET", "/readyz"))

    async def ask_each(self, method: str, path: str, key: str = "ann", **body: Any) -> list[tuple[int, Any]]:
        """What each worker says when it is asked."""
        answers, workers = [], self.workers
        for worker in sorted(workers):
            with answered_by(worker, workers):
                answers.append(await ask(self.url, method, path, key, **body))
        return answers

    async def end(self) -> None:
        """Whose last look at what runs in the background is answered, as the event loop is free for the provider."""
        self._process.terminate()
        await asyncio.wait_for(self._process.wait(), 60)


@asynccontextmanager
async def gateway(folder: Path, credential: str) -> AsyncIterator[tuple[Gateway, KeepingProvider]]:
    """Both workers are ready."""
    provider = KeepingProvider()
    async with serving(provider) as upstream:
        params = {"model": "openai/m", "api_base": f"{upstream}/v1", "api_key": credential}
        words = {
            "model_list": [{"model_name": "m", "litellm_params": params}],
            "keys": [{"id": name, "secret": secret} for name, secret in KEYS.items()],
            "ledger": {"url": "sqlite:///usage.db"},
        }
        (folder / "gateway.yaml").write_text(json.dumps(words))
        command = [str(INSTALLED), "serve", "--port", "0", "--workers", "2"]
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            found = re.search(r"http://\S+", (await process.stdout.readline()).decode())
            assert found is not None
            running = Gateway(process, found[0])
            await until(running.ready, within=60)
            yield running, provider
            await running.end()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def ask(url: str, method: str, path: str, key: str = "ann", **body: Any) -> tuple[int, Any]:
    """By a connection of its own, so that either worker may get it."""
    connector = aiohttp.TCPConnector(force_close=True)
    headers = {"authorization": f"Bearer {KEYS[key]}"}
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        session.request(method, url + path, json=body or None) as answer,
    ):
        return answer.status, await answer.json()


async def test_an_id_is_read_by_either_worker_and_for_its_key_alone(tmp_path: Path, credential: str) -> None:
    async with gateway(tmp_path, credential) as (running, provider):
        status, made = await ask(running.url, "POST", "/v1/responses", model="m", input="Hello")
        assert status == 200, made
        path = f"/v1/responses/{made['id']}"
        answers = await running.ask_each("GET", path)
        assert [(status, told.get("id")) for status, told in answers] == [(200, made["id"])] * 2
        others = await running.ask_each("GET", path, "bob")
        assert [status for status, _ in others] == [404] * 2
        following = {"model": "m", "input": "And then?", "previous_response_id": made["id"]}
        next_ones = await running.ask_each("POST", "/v1/responses", **following)
        assert [(status, told["previous_response_id"]) for status, told in next_ones] == [(200, made["id"])] * 2
        assert {told["previous_response_id"] for *_, told in provider.asked if told.get("previous_response_id")} == {
            "resp_a1"
        }


async def test_a_response_in_the_background_is_counted_once_whichever_worker_is_asked_for_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, "sk-account-of-the-gateway") as (running, provider):
        status, made = await ask(running.url, "POST", "/v1/responses", model="m", input="Hello", background=True)
        assert (status, made["status"]) == (200, "queued")
        provider.end()
        read = await running.ask_each("GET", f"/v1/responses/{made['id']}")
        assert [told["status"] for _, told in read] == ["completed"] * 2
    assert recorded(tmp_path) == [("provider", read[0][1]["usage"]["output_tokens"])]


async def test_a_worker_that_ends_asks_how_a_response_stands_of_which_only_the_other_has_heard(tmp_path: Path) -> None:
    async with gateway(tmp_path, "sk-account-of-the-gateway") as (running, provider):
        maker, other = running.workers
        with answered_by(maker, {maker, other}):
            _, made = await ask(running.url, "POST", "/v1/responses", model="m", input="Hello", background=True)
        provider.end()
        with answered_by(other, {maker, other}):
            _, read = await ask(running.url, "GET", f"/v1/responses/{made['id']}")
    assert recorded(tmp_path) == [("provider", read["usage"]["output_tokens"])]


def recorded(folder: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(folder / "usage.db")) as ledger:
        return ledger.execute("SELECT usage_source, output_tokens FROM usage").fetchall()
