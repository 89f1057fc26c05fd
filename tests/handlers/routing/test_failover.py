"""Deployments of one model name, each a scripted provider on a socket of its own."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import openai
import pytest

from crplugins.asgi.scope import make_exchange
from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Reply
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.group import Group
from crplugins.handlers.routing.health import COOLDOWN_SECONDS, MAX_COOLDOWN_SECONDS
from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, FrozenClock, Script
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, HELLO, UPSTREAM_KEY, Setup

PRICES = [{"input_cost_per_token": price * 1e-6, "output_cost_per_token": price * 1e-6} for price in (1, 3)]

BROKEN_FOR_LITELLM = ("upstream_stream_broken", "upstream_5xx")


@pytest.fixture(params=["direct", "litellm"])
def deployments(request, serve):
    """`async with deployments() as (gateway, providers, watcher):` one model, two providers."""

    @asynccontextmanager
    async def start():
        watcher = Watcher()
        async with AsyncExitStack() as stack:
            providers = [await stack.enter_async_context(FakeProvider()) for _ in range(2)]
            models = [
                {
                    "model_name": "m",
                    "litellm_params": {
                        "model": f"openai/model-{number}",
                        "api_base": provider.base_url,
                        "api_key": UPSTREAM_KEY,
                    },
                    "model_info": PRICES[number],
                    "handler": request.param,
                }
                for number, provider in enumerate(providers)
            ]
            app = Gateway(model_list=models, keys=[{"id": "k", "secret": CLIENT_KEY}], plugins=[watcher])
            url = await stack.enter_async_context(serve(app))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            yield Setup(providers[0], url, session), providers, watcher

    return start


def calls(providers: Sequence[FakeProvider]) -> list[int]:
    return [len(provider.requests) for provider in providers]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "error_type"),
    [
        (Script.error(500, "no"), "upstream_5xx"),
        (Script.error(401, "who"), "upstream_auth"),
        (Script.error(404, "no such model here"), "upstream_4xx"),
        (Script.rate_limited(), "upstream_429"),
        (Script(refuse_connection=True), "upstream_connect"),
        (Script(body=b"<html>", content_type="application/json"), "upstream_stream_broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_request_that_one_deployment_fails_is_answered_by_the_next(deployments, stream, script, error_type):
    async with deployments() as (gateway, providers, watcher):
        providers[0].default = script
        answer = await gateway.post(stream=stream)
        assert answer.status == 200
        assert calls(providers) == [1, 1]
        exchange = watcher.exchange
        first, second = exchange.attempts
        assert (first.kind, second.kind, second.error_type) == ("initial", "fallback", "")
        # litellm has one word for all that it cannot read
        assert first.error_type == error_type or (error_type, first.error_type) == BROKEN_FOR_LITELLM
        assert (exchange.outcome, exchange.served_model, exchange.price.input) == ("ok", "model-1", 3_000_000)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_invalid_request_does_not_fail_over(deployments, stream):
    async with deployments() as (gateway, providers, _):
        providers[0].default = Script.error(400, "temperature is too high", param="temperature")
        answer = await gateway.post(stream=stream)
        assert (answer.status, calls(providers)) == (400, [1, 0])
        assert "temperature is too high" in answer.text


async def test_a_stream_that_has_begun_is_not_begun_again(deployments):
    async with deployments() as (gateway, providers, _):
        providers[0].default = Script(text="one two three", cut_after=2)
        answer = await gateway.post(stream=True)
        assert (answer.status, calls(providers)) == (200, [1, 0])
        assert '"error"' in answer.text


async def test_when_all_fail_the_client_gets_the_failure_of_the_last(deployments):
    async with deployments() as (gateway, providers, watcher):
        providers[0].default = Script.error(500, "no")
        providers[1].default = Script.rate_limited(retry_after=7)
        answer = await gateway.post()
        assert (answer.status, answer.headers["retry-after"], calls(providers)) == (429, "7", [1, 1])
        assert watcher.exchange.error_type == "upstream_429"


async def test_a_deployment_that_cools_down_is_tried_last_and_the_others_take_turns(deployments):
    async with deployments() as (gateway, providers, _):
        await gateway.post()
        await gateway.post()
        assert calls(providers) == [1, 1]
        providers[0].default = Script.error(500, "no")
        for _ in range(4):
            assert (await gateway.post()).status == 200
        assert calls(providers) == [2, 5]
        providers[1].default = Script.error(500, "no")
        providers[0].default = Script()
        assert (await gateway.post()).status == 200


async def test_a_client_that_waits_for_a_fallback_notices_nothing(deployments):
    async with deployments() as (gateway, providers, _):
        providers[0].default = Script.error(503, "no")
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=CLIENT_KEY, max_retries=0)
        async with client:
            stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            chunks = [chunk async for chunk in stream]
        assert {chunk.model for chunk in chunks} == {"m"}
        assert chunks[-1].choices[0].finish_reason == "stop"


class Scripted:
    """Answers, or fails as it is told to."""

    def __init__(self) -> None:
        self.failure: GatewayError | None = None
        self.asked = 0

    async def answer(self, exchange, body):
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return Reply(200, [], b"{}")


@pytest.mark.parametrize(
    ("headers", "cooldown"),
    [
        ([], COOLDOWN_SECONDS),
        ([("retry-after", "20")], 20.0),
        ([("retry-after", "9999")], MAX_COOLDOWN_SECONDS),
        ([("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], COOLDOWN_SECONDS),
    ],
)
async def test_a_deployment_that_failed_cools_down_for_its_retry_after(headers, cooldown):
    clock, ill, well = FrozenClock(), Scripted(), Scripted()
    both = Group([Candidate(Deployment("m", "openai/a"), each) for each in (ill, well)])
    ill.failure = GatewayError(429, "slow down", headers=headers, error_type="upstream_429")

    async def ask(times: int) -> None:
        for _ in range(times):
            exchange = make_exchange({"headers": [], "method": "POST", "path": "/"}, clock, lambda: "id")
            assert (await both.answer(exchange, Body(b"{}"))).status == 200

    await ask(1)
    clock.advance(cooldown - 0.01)
    await ask(4)
    assert ill.asked == 1
    clock.advance(0.02)
    await ask(2)
    assert ill.asked == 2
