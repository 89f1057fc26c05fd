"""End users and sessions of real clients: an agent whose run has a cap in dollars, through a gateway on a socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script, usage_object
from tests.gateway_setup import CLIENT_KEY, HELLO, UPSTREAM_KEY
from tests.redis_setup import redis, redis_process  # noqa: F401  # fixtures

PRICES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
STEP = Script(text="one more step", usage_object=usage_object(1000, 500))
COST = 0.002
"""US dollars of a step."""

TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def configuration(provider: FakeProvider, store: str, **more: Any) -> dict[str, Any]:
    params = {"model": "openai/upstream-model", "api_base": provider.base_url, "api_key": UPSTREAM_KEY}
    model = {"model_name": "m", "litellm_params": params, "model_info": PRICES, "handler": "direct"}
    return {
        "model_list": [model],
        "keys": [{"id": "agents", "secret": CLIENT_KEY}],
        # A busy machine is not the subject: where the store is late, the SDK tries again, and none passes uncounted.
        "limits": {"store": store, "on_store_error": "closed", **more},
        "budgets": {"per_session": {"usd": 5 * COST}},
    }


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis").url)
    return "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/limits.db"


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider(default=STEP) as provider:
        yield provider


class Agent:
    """Asks again and again, as one that never finds its task done. Knows of limits only what an SDK tells it."""

    def __init__(self, url: str, run: str) -> None:
        self.client = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key=CLIENT_KEY, max_retries=5, default_headers={"x-session-id": run}
        )
        self.steps = 0

    async def run(self) -> openai.APIStatusError:
        """Until it is told that its session is over; that refusal."""
        history: list[Any] = [*HELLO]
        async with self.client:
            while True:
                assert self.steps < 50, "nothing stops it"
                stream = self.steps % 2 == 1
                try:
                    answer: Any = await self.client.chat.completions.create(
                        model="m", messages=history, tools=[TOOL], max_tokens=100, stream=stream
                    )
                    if stream:
                        said = "".join(
                            [chunk.choices[0].delta.content or "" async for chunk in answer if chunk.choices]
                        )
                    else:
                        said = answer.choices[0].message.content
                except openai.APIStatusError as refused:
                    if refused.type == "session_limit":
                        return refused
                    raise
                history += [{"role": "assistant", "content": said}, {"role": "user", "content": "Go on."}]
                self.steps += 1


async def test_an_agent_that_never_ends_is_stopped_by_the_budget_of_its_run(
    serve: Any, provider: FakeProvider, store: str
) -> None:
    async with serve(Gateway(**configuration(provider, store))) as url:
        first = Agent(url, "run-1")
        refused = await asyncio.wait_for(first.run(), 60)
        assert (refused.code, refused.status_code) == ("session_budget_exceeded", 403)
        assert "0.01 of 0.01 USD" in refused.message
        assert (first.steps, len(provider.requests)) == (5, 5), "the SDK has not tried again either"
        second = Agent(url, "run-2")
        await asyncio.wait_for(second.run(), 60)
        assert (second.steps, len(provider.requests)) == (5, 10)


async def test_two_gateways_count_a_run_together(serve: Any, provider: FakeProvider, redis: Any) -> None:  # noqa: F811
    words = configuration(provider, redis.url)
    async with serve(Gateway(**words)) as one, serve(Gateway(**words)) as other:
        agents = [Agent(url, "run-1") for url in (one, other)]
        await asyncio.wait_for(asyncio.gather(*[agent.run() for agent in agents]), 60)
        # Both may be under way with the last cents: each has reserved what it might cost, and costs more.
        assert 4 <= sum(agent.steps for agent in agents) == len(provider.requests) <= 6


async def test_end_users_of_one_key_are_limited_one_by_one(serve: Any, provider: FakeProvider) -> None:
    words = configuration(provider, "memory", per_user={"requests_per_minute": 2}) | {"budgets": {}}
    async with serve(Gateway(**words)) as url:
        app = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=CLIENT_KEY, max_retries=0)
        async with app:
            for _ in range(2):
                await app.chat.completions.create(model="m", messages=HELLO, safety_identifier="ann")
            with pytest.raises(openai.RateLimitError, match="for this user on requests per min") as refused:
                await app.chat.completions.create(model="m", messages=HELLO, safety_identifier="ann")
            assert refused.value.code == "rate_limit_exceeded"
            assert 0 < int(refused.value.response.headers["retry-after"]) <= 30
            await app.chat.completions.create(model="m", messages=HELLO, safety_identifier="ben")
    assert [json.loads(request.body)["safety_identifier"] for request in provider.requests] == ["ann", "ann", "ben"]
