"""Strategies, affinity and checks in a gateway, over two scripted providers on sockets of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, UPSTREAM_KEY, Setup

SYSTEM = {"role": "system", "content": "You are a careful assistant. " * 200}
STRATEGIES = {
    "simple": "simple-shuffle", "busy": "least-busy", "fast": "latency-based-routing", "cheap": "cost-based-routing",
}  # fmt: skip
PRICES = [{"input_cost_per_token": price * 1e-6, "output_cost_per_token": price * 1e-6} for price in (3, 1)]
WORDS = "one two three four five six seven eight"


@dataclass
class Served:
    gateway: Setup
    providers: Sequence[FakeProvider]
    watcher: Watcher

    def asked(self) -> list[int]:
        """How many completions each provider has been asked for."""
        return [sum(each.method == "POST" for each in provider.requests) for provider in self.providers]

    async def spread(self, times: int = 1, **body: Any) -> list[int]:
        """Which of the providers is asked by each of so many requests, one after the other."""
        picked = []
        for _ in range(times):
            before = self.asked()
            assert (await self.gateway.post(**body)).status == 200
            picked.append(next(number for number, (a, b) in enumerate(zip(before, self.asked(), strict=True)) if b > a))
        return picked


def entry(name: str, provider: FakeProvider, number: int, handler: str, **keys: Any) -> dict[str, Any]:
    params = {"model": f"openai/{name}-{number}", "api_base": provider.base_url, "api_key": UPSTREAM_KEY}
    return {"model_name": name, "litellm_params": params, "model_info": PRICES[number], "handler": handler, **keys}


@pytest.fixture
async def served(serve: Any) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(FakeProvider()) for _ in range(2)]
        models = [
            entry(f"{name}-{handler}", provider, number, handler, routing_strategy=strategy)
            for name, strategy in STRATEGIES.items()
            for handler in ("direct", "litellm")
            for number, provider in enumerate(providers)
        ]
        models += [
            entry("checked", provider, number, "direct", health_check={"seconds": 0.05}, cooldown_time=60)
            for number, provider in enumerate(providers)
        ]
        watcher = Watcher()
        app = Gateway(model_list=models, keys=[{"id": "k", "secret": CLIENT_KEY}], plugins=[watcher])
        url = await stack.enter_async_context(serve(app))
        await app.loaded()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Served(Setup(providers[0], url, session), providers, watcher)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # neither a provider nor a log tells
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_a_conversation_stays_where_its_prompt_is_in_the_cache(served: Served, handler: str) -> None:
    model, messages = f"simple-{handler}", [SYSTEM]
    picked = []
    for turn in range(4):
        messages.append({"role": "user", "content": f"question {turn}"})
        picked += await served.spread(model=model, messages=messages, stream=turn % 2 == 0)
        messages.append({"role": "assistant", "content": "answer"})
    assert len(set(picked)) == 1
    assert sorted(await served.spread(4, model=model)) == [0, 0, 1, 1]  # short prompts are in no cache
    assert len(set(await served.spread(4, model=model, prompt_cache_key="p"))) == 1
    assert len(set(await served.spread(4, model=model, metadata={"session_id": "s"}, store=True))) == 1
    served.gateway.headers["x-session-id"] = "another"
    assert len(set(await served.spread(4, model=model))) == 1


async def test_a_conversation_goes_on_elsewhere_when_its_deployment_fails_and_stays_there(served: Served) -> None:
    body = {"model": "simple-direct", "messages": [SYSTEM, {"role": "user", "content": "hello"}]}
    (home,) = await served.spread(**body)
    served.providers[home].default = Script.error(401, "no")
    assert (await served.gateway.post(**body)).status == 200
    served.providers[home].default = Script()
    assert await served.spread(3, **body) == [1 - home] * 3


async def test_many_requests_of_one_session_at_once_are_more_than_its_deployment_takes(served: Served) -> None:
    for provider in served.providers:
        provider.default = Script(text=WORDS, stall_after=3)
    async with AsyncExitStack() as stack:
        for _ in range(12):
            await stack.enter_async_context(
                served.gateway.open(model="simple-direct", prompt_cache_key="p", stream=True)
            )
        assert sorted(served.asked()) == [3, 9]


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_the_least_busy_is_asked_and_a_stream_keeps_a_deployment_busy_until_its_end(
    served: Served, handler: str
) -> None:
    model = f"busy-{handler}"
    held, free = served.providers
    held.default = free.default = Script(text=WORDS, stall_after=3)
    async with served.gateway.open(model=model, stream=True) as stream:
        assert served.asked() == [1, 0]
        free.default = Script()
        assert await served.spread(5, model=model) == [1] * 5
        assert stream.status == 200
    held.default = Script()
    await until(lambda: held.active == 0)  # its client has left
    assert sorted(await served.spread(2, model=model)) == [0, 1]
    for _ in range(2):
        assert (await served.gateway.post(model=model, stream=True)).status == 200
    assert sorted(await served.spread(4, model=model)) == [0, 0, 1, 1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_the_one_that_answers_soonest_is_asked(served: Served, handler: str, stream: bool) -> None:
    model = f"fast-{handler}"
    served.providers[0].default = Script(text=WORDS, delay=2)  # longer than the other takes on a busy machine
    served.providers[1].default = Script(text=WORDS)
    assert sorted(await served.spread(2, model=model, stream=stream)) == [0, 1]
    assert await served.spread(4, model=model, stream=stream) == [1] * 4


@pytest.mark.parametrize("handler", ["direct", "litellm"])
async def test_the_cheapest_is_asked_until_it_fails(served: Served, handler: str) -> None:
    model = f"cheap-{handler}"
    assert await served.spread(3, model=model) == [1, 1, 1]
    served.providers[1].default = Script.error(401, "no")
    assert (await served.gateway.post(model=model)).status == 200
    assert await served.spread(2, model=model) == [0, 0]
    assert served.watcher.exchange.price.input == 3_000_000


async def test_a_deployment_whose_checks_fail_is_not_asked_until_one_succeeds(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for provider in served.providers:
        await until(lambda provider=provider: len(provider.requests) > 2)
        question = provider.requests[0]
        assert (question.method, question.path, question.body) == ("GET", "/v1/models", b"")
        assert question.bearer == UPSTREAM_KEY
        assert "content-length" not in question.headers
    await served.providers[0].stop()
    await until(lambda: "cools down" in caplog.text)
    before = served.asked()[1]
    for number in range(1, 5):
        assert (await served.gateway.post(model="checked")).status == 200
        assert (served.asked()[1] - before, len(served.watcher.exchange.attempts)) == (number, 1)
    served.providers[0].clear()
    await served.providers[0].start()
    await until(lambda: any(each.method == "GET" for each in served.providers[0].requests))
    async with asyncio.timeout(30):  # its minute is cut short
        while 0 not in await served.spread(model="checked"):
            pass
