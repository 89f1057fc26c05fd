"""Four workers of one gateway: a limit of 15 lets 15 through, and what is not used is given back."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from crplugins.testing import FakeProvider, Script
from tests.redis_setup import redis, redis_process  # noqa: F401  # fixtures

COMMAND = Path(sys.executable).with_name("crplugins")
KEY = "sk-team-a-0123456789"
CONFIGURATION = """
model_list: [{{model_name: m, litellm_params: {{model: openai/m, api_base: "{provider}"}}, handler: direct}}]
keys: [{{id: team-a, secret: {key}, limits: {limits}}}]
limits: {{store: "{store}"}}
"""

SETTLED = 0.5
"""Seconds. A client has its last byte before the store is told what was used."""


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/limits.db"
    return request.getfixturevalue("redis").url


@contextmanager
def four_workers(folder, **words):
    (folder / "gateway.yaml").write_text(CONFIGURATION.format(key=KEY, **words))
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0", "--workers", "4"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield re.search(r"http://\S+", os.read(process.stdout.fileno(), 65536).decode())[0]
        finally:
            process.terminate()


async def ask(session, url, **more):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        await answer.read()
        return answer


async def many(url, count, **more):
    """Answers by status. Each request has a connection of its own, so that all workers get some."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, headers={"authorization": f"Bearer {KEY}"}) as session:
        return await asyncio.gather(*(ask(session, url, **more) for _ in range(count)))


@pytest.mark.parametrize("limits", [{"requests_per_day": 15}, {"tokens_per_day": 15_000}])
async def test_fifteen_of_sixty_at_once_are_admitted(tmp_path, store, limits):
    async with FakeProvider(default=Script(delay=0.5)) as provider:
        with await asyncio.to_thread(
            entered, four_workers(tmp_path, provider=provider.base_url, limits=json.dumps(limits), store=store)
        ) as url:
            answers = await many(url, 60, max_tokens=987)  # and 13 of the prompt
            assert Counter(answer.status for answer in answers) == {200: 15, 429: 45}
            assert len(provider.requests) == 15
            refused = next(answer for answer in answers if answer.status == 429)
            assert int(refused.headers["retry-after"]) >= 1
            await asyncio.sleep(SETTLED)
            if "tokens_per_day" in limits:  # most of the estimate is given back, and those that waited come in
                assert all(answer.status == 200 for answer in await many(url, 12, max_tokens=987))


async def test_at_once_means_at_once(tmp_path, store):
    async with FakeProvider(default=Script(delay=1.0)) as provider:
        limits = '{"max_parallel_requests": 15}'
        with await asyncio.to_thread(
            entered, four_workers(tmp_path, provider=provider.base_url, limits=limits, store=store)
        ) as url:
            answers = await many(url, 60)
            assert Counter(answer.status for answer in answers) == {200: 15, 429: 45}
            await asyncio.sleep(SETTLED)
            assert all(answer.status == 200 for answer in await many(url, 15))


class entered:
    """A context manager that was entered in a thread, because starting workers takes seconds."""

    def __init__(self, manager):
        self._manager = manager
        self._value = manager.__enter__()

    def __enter__(self):
        return self._value

    def __exit__(self, *error):
        return self._manager.__exit__(*error)
