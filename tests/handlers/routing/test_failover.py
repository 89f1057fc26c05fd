"""Deployments of one model name, each a scripted provider on a socket of its own."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import openai
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
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
    ("script", "error_type", "retries"),
    [
        (Script.error(500, "no"), "upstream_5xx", 1),
        (Script.error(503, "no", headers=[("retry-after", "20")]), "upstream_5xx", 0),
        (Script.error(504, "no"), "upstream_5xx", 0),
        (Script.error(401, "who"), "upstream_auth", 0),
        (Script.error(404, "no such model here"), "upstream_4xx", 0),
        (Script.error(410, "it has reached its end of life"), "upstream_4xx", 0),
        (Script.error(400, "up is not a valid model ID"), "upstream_4xx", 0),
        (Script.error(421, "misdirected"), "upstream_4xx", 0),
        (Script.error(424, "generation failed"), "upstream_4xx", 0),
        (Script.error(499, "cancelled"), "upstream_4xx", 0),
        (Script.error(400, "Rate limit exceeded."), "upstream_429", 1),
        (Script.rate_limited(), "upstream_429", 0),
        (Script.rate_limited(None), "upstream_429", 1),
        (Script(refuse_connection=True), "upstream_connect", 0),
        (Script(body=b"<html>", content_type="application/json"), "upstream_stream_broken", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_request_that_one_deployment_fails_is_answered_by_the_next(
    deployments, stream, script, error_type, retries
):
    async with deployments() as (gateway, providers, watcher):
        providers[0].default = script
        answer = await gateway.post(stream=stream)
        assert answer.status == 200
        exchange = watcher.exchange
        first, *again, second = exchange.attempts
        assert (first.kind, second.kind, second.error_type) == ("initial", "fallback", "")
        # litellm has one word for all that it cannot read
        broken_for_litellm = (error_type, first.error_type) == BROKEN_FOR_LITELLM
        assert first.error_type == error_type or broken_for_litellm
        assert [attempt.kind for attempt in again] == ["retry"] * (1 if broken_for_litellm else retries)
        assert calls(providers) == [1 + len(again), 1]
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
        for _ in range(2):
            await gateway.post(stream=True)
        assert calls(providers) == [1, 2], "it cools down, as after any failure"


async def test_when_all_fail_the_client_gets_the_failure_of_the_last(deployments):
    async with deployments() as (gateway, providers, watcher):
        providers[0].default = Script.error(500, "no")
        providers[1].default = Script.rate_limited(retry_after=7)
        answer = await gateway.post()
        assert (answer.status, answer.headers["retry-after"], calls(providers)) == (429, "7", [2, 1])
        assert watcher.exchange.error_type == "upstream_429"


async def test_a_deployment_that_rests_is_not_asked_unless_no_other_answers_and_the_others_take_turns(deployments):
    async with deployments() as (gateway, providers, _):
        await gateway.post()
        await gateway.post()
        assert calls(providers) == [1, 1]
        providers[0].default = Script.error(500, "no")
        for _ in range(4):
            assert (await gateway.post()).status == 200
        assert calls(providers) == [3, 5]
        providers[1].default = Script.error(500, "no")
        providers[0].default = Script()
        assert (await gateway.post()).status == 200
        assert calls(providers) == [4, 7]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "pause"),
    [(Script.error(500, "no"), 0.12), (Script.rate_limited(None, headers=[("retry-after-ms", "400")]), 0.4)],
)
async def test_a_fault_that_passes_is_overcome_by_the_same_deployment(deployments, stream, script, pause):
    async with deployments() as (gateway, providers, watcher):
        providers[0].enqueue(script)
        assert (await gateway.post(stream=stream)).status == 200
        assert calls(providers) == [2, 0]
        first, second = watcher.exchange.attempts
        assert (first.kind, second.kind, watcher.exchange.outcome) == ("initial", "retry", "ok")
        assert second.started - first.ended >= pause


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_that_is_refused_is_tried_again_and_one_that_breaks_is_not(deployments, stream):
    async with deployments() as (gateway, providers, watcher):
        await providers[0].__aexit__(None, None, None)
        assert (await gateway.post(stream=stream)).status == 200
        assert [attempt.kind for attempt in watcher.exchange.attempts] == ["initial", "retry", "fallback"]
        assert {attempt.error_type for attempt in watcher.exchange.attempts} == {"upstream_connect", ""}


async def test_a_client_that_waits_for_a_fallback_notices_nothing(deployments):
    async with deployments() as (gateway, providers, _):
        providers[0].default = Script.error(503, "no")
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=CLIENT_KEY, max_retries=0)
        async with client:
            stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
            chunks = [chunk async for chunk in stream]
        assert {chunk.model for chunk in chunks} == {"m"}
        assert chunks[-1].choices[0].finish_reason == "stop"
