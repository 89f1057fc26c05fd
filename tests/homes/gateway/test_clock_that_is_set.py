"""Somebody sets the wall clock while a request runs, as NTP or the host of a suspended machine does: it holds its place
among the parallel ones, and is settled as what it was."""

import asyncio
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.redis_setup import (
    redis,  # noqa: F401  # fixture
    redis_process,  # noqa: F401  # fixture
)

KEY = {
    "id": "a",
    "secret": "sk-a-0123456789",
    "limits": {"max_parallel_requests": 1},
    "budget": {"usd": 1000, "period": "total"},
}
PRICES = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}
STEP = """
local last, steady = struct.unpack('>dd', redis.call('GET', KEYS[1]))
redis.call('SET', KEYS[1], struct.pack('>dd', last - ARGV[1], steady))
"""


@pytest.fixture(params=["memory", "sqlite", "redis"])
def stepped(request, tmp_path, monkeypatch):
    """The URL of a store, and how to set the clock by which it counts, by so many seconds."""
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        return server.url, lambda seconds: step_server(server, seconds)
    url = "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/limits.db"
    return url, lambda seconds: step_machine(monkeypatch, seconds)


def step_machine(monkeypatch, seconds):
    seconds_, nanoseconds = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: seconds_() + seconds)
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds() + seconds * 1_000_000_000)


def step_server(server, seconds):
    """As a server that is set sees it: what it has last noted is that much further away."""
    server.command("EVAL", STEP, 1, "crp:{crp}:clock", 1000 * seconds)


@asynccontextmanager
async def gateway(serve, store):
    async with FakeProvider(default=Script(delay=1.5)) as provider:
        params = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-up"}
        model = {"model_name": "m", "litellm_params": params, "model_info": PRICES, "handler": "direct"}
        app = Gateway(model_list=[model], keys=[KEY], limits={"store": store})
        headers = {"authorization": f"Bearer {KEY['secret']}"}
        async with serve(app) as url, aiohttp.ClientSession(url, headers=headers) as session:
            yield provider, session


async def chat(session):
    body = {"model": "m", "max_tokens": 50_000, "messages": [{"role": "user", "content": "hi"}]}
    async with session.post("/v1/chat/completions", json=body) as answer:
        return answer.status, await answer.json()


async def budget_used(session):
    async with session.get("/v1/limits") as answer:
        return (await answer.json())["budgets"][0]["spent_usd"]


@pytest.mark.parametrize("seconds", [90, 40 * 86_400, -3_600])
async def test_a_running_request_keeps_its_place_and_is_settled_when_the_clock_is_set(serve, stepped, seconds):
    store, step = stepped
    async with gateway(serve, store) as (provider, session):
        running = asyncio.create_task(chat(session))
        async with asyncio.timeout(30):
            while not provider.requests:  # noqa: ASYNC110  # it sets no event
                await asyncio.sleep(0.01)
            assert await budget_used(session) > 50
            step(seconds)
            status, refused = await chat(session)
            assert status == 429, refused
            status, answer = await running
            assert status == 200
            cost = answer["usage"]["total_tokens"] * 0.001
            while await budget_used(session) != pytest.approx(cost):  # noqa: ASYNC110  # another store sets no event
                await asyncio.sleep(0.01)  # it is settled behind the last byte
            assert (await chat(session))[0] == 200
