"""Two workers of one gateway: whichever is asked knows the ids of responses, each for the key alone that made it."""

import asyncio
import json
import os
import re
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import serving
from tests.homes.keeping_provider import KeepingProvider
from tests.warm import warm_crplugins

KEYS = {name: f"sk-test-of-{name}-{'x' * 20}" for name in ("ann", "bob")}
ENOUGH = 24
"""Connections, each of which either worker takes: that one takes all is a chance of one in eight million."""


@pytest.fixture(params=["a long key at the provider", "none"])
def credential(request: pytest.FixtureRequest) -> str:
    """What signs the ids: the gateway's key at the provider, or a secret that its processes share."""
    return "sk-account-of-the-gateway" if request.param.startswith("a") else "EMPTY"


@asynccontextmanager
async def gateway(folder: Path, credential: str) -> AsyncIterator[tuple[str, KeepingProvider]]:
    provider = KeepingProvider()
    async with serving(provider) as upstream:
        params = {"model": "openai/m", "api_base": f"{upstream}/v1", "api_key": credential}
        words = {
            "model_list": [{"model_name": "m", "litellm_params": params}],
            "keys": [{"id": name, "secret": secret} for name, secret in KEYS.items()],
            "ledger": {"url": "sqlite:///usage.db"},
        }
        (folder / "gateway.yaml").write_text(json.dumps(words))
        with running(folder) as url:
            yield url, provider


def running(folder: Path) -> Any:
    return closing(_Running(folder))


class _Running(str):
    """The address of a gateway, which `close` ends."""

    __slots__ = ("__dict__",)

    process: "subprocess.Popen[str]"

    def __new__(cls, folder: Path) -> "_Running":
        command = warm_crplugins("serve", "--port", 0, "--workers", 2)
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        found = re.search(r"http://\S+", os.read(process.stdout.fileno(), 65536).decode())
        assert found is not None
        running = super().__new__(cls, found[0])
        running.process = process
        return running

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


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
    async with gateway(tmp_path, credential) as (url, provider):
        status, made = await ask(url, "POST", "/v1/responses", model="m", input="Hello")
        assert status == 200, made
        path = f"/v1/responses/{made['id']}"
        answers = await asyncio.gather(*(ask(url, "GET", path) for _ in range(ENOUGH)))
        assert {(status, told.get("id")) for status, told in answers} == {(200, made["id"])}
        others = await asyncio.gather(*(ask(url, "GET", path, "bob") for _ in range(ENOUGH)))
        assert {status for status, _ in others} == {404}
        following = {"model": "m", "input": "And then?", "previous_response_id": made["id"]}
        next_ones = await asyncio.gather(*(ask(url, "POST", "/v1/responses", **following) for _ in range(ENOUGH)))
        assert {(status, told["previous_response_id"]) for status, told in next_ones} == {(200, made["id"])}
        assert {told["previous_response_id"] for *_, told in provider.asked if told.get("previous_response_id")} == {
            "resp_a1"
        }


async def test_a_response_in_the_background_is_counted_once_whichever_worker_is_asked_for_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, "sk-account-of-the-gateway") as (url, provider):
        status, made = await ask(url, "POST", "/v1/responses", model="m", input="Hello", background=True)
        assert (status, made["status"]) == (200, "queued")
        provider.end()
        path = f"/v1/responses/{made['id']}"
        read = await asyncio.gather(*(ask(url, "GET", path) for _ in range(ENOUGH)))
        assert {told["status"] for _, told in read} == {"completed"}
    with closing(sqlite3.connect(tmp_path / "usage.db")) as ledger:
        rows = ledger.execute("SELECT usage_source, output_tokens FROM usage").fetchall()
    assert rows == [("provider", read[0][1]["usage"]["output_tokens"])]
