"""Four workers of one gateway: a limit of 15 lets 15 through, and what is not used is given back."""

import asyncio
import json
import os
import re
import subprocess
from collections import Counter

import aiohttp
import pytest

from crplugins.testing import FakeProvider, Script
from tests.ports import free_port
from tests.redis_setup import redis_process  # noqa: F401  # fixture
from tests.warm import warm_crplugins

KEY = "sk-{}-0123456789"
LIMITS = {
    "requests": {"requests_per_day": 15},
    "tokens": {"tokens_per_day": 15_000},
    "parallel": {"max_parallel_requests": 15},
}
"""By the id of a key, each of which is for one test."""


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def workers(request, tmp_path_factory):
    """The address of a gateway with four workers, and the port at which its provider has to be."""
    folder, port = tmp_path_factory.mktemp("workers"), free_port()
    store = "sqlite:///limits.db" if request.param == "sqlite" else request.getfixturevalue("redis_process").url
    params = {"model": "openai/m", "api_base": f"http://127.0.0.1:{port}/v1"}
    configuration = {
        "model_list": [{"model_name": "m", "litellm_params": params, "handler": "direct"}],
        "keys": [{"id": name, "secret": KEY.format(name), "limits": limits} for name, limits in LIMITS.items()],
        "limits": {"store": store},
    }
    (folder / "gateway.yaml").write_text(json.dumps(configuration))  # JSON is YAML
    command = warm_crplugins("serve", "--port", 0, "--workers", 4)
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://\S+", os.read(process.stdout.fileno(), 65536).decode())[0], port
        finally:
            process.terminate()


async def ask(session, url, **more):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        await answer.read()
        return answer


async def many(url, key, count, **more):
    """Answers. Each request has a connection of its own, so that all workers get some."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    headers = {"authorization": f"Bearer {KEY.format(key)}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        return await asyncio.gather(*(ask(session, url, **more) for _ in range(count)))


async def all_admitted_at_once(url, key, count, **more):
    """As soon as what was used before has been told: a client has its last byte before the store is."""
    async with asyncio.timeout(60):
        while any(answer.status != 200 for answer in await many(url, key, count, **more)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # another process sets no event


@pytest.mark.parametrize("key", ["requests", "tokens"])
async def test_fifteen_of_sixty_at_once_are_admitted(workers, key):
    url, port = workers
    async with FakeProvider(port=port, default=Script(delay=0.5)) as provider:
        answers = await many(url, key, 60, max_tokens=987)  # and 13 of the prompt
        assert Counter(answer.status for answer in answers) == {200: 15, 429: 45}
        assert len(provider.requests) == 15
        refused = next(answer for answer in answers if answer.status == 429)
        assert int(refused.headers["retry-after"]) >= 1
        if key == "tokens":  # most of the estimate is given back, and those that waited come in
            await all_admitted_at_once(url, key, 12, max_tokens=987)


async def test_at_once_means_at_once(workers):
    url, port = workers
    async with FakeProvider(port=port, default=Script(delay=1.0)):
        answers = await many(url, "parallel", 60)
        assert Counter(answer.status for answer in answers) == {200: 15, 429: 45}
        await all_admitted_at_once(url, "parallel", 15)
