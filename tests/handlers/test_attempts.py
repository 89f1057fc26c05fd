"""What both handlers note of each call of a provider, and how they learn that one refuses `stream_options`."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, UPSTREAM_KEY, Setup

TRACE = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate": "a=1",
    "baggage": "k=v",
}


@pytest.fixture(params=["direct", "litellm"])
def watched(request, serve):
    """`async with watched() as (gateway, watcher):` a gateway with a plugin that keeps its exchanges."""

    @asynccontextmanager
    async def start(**entry):
        watcher = Watcher()
        async with FakeProvider() as provider:
            params = {"model": "openai/gpt-4o-mini", "api_base": provider.base_url, "api_key": UPSTREAM_KEY}
            model = {"model_name": "m", "litellm_params": params, "handler": request.param, **entry}
            app = Gateway(model_list=[model], keys=[{"id": "k", "secret": CLIENT_KEY}], plugins=[watcher])
            async with serve(app) as url, aiohttp.ClientSession() as session:
                yield Setup(provider, url, session), watcher

    return start


def attempts(watcher):
    return [(a.provider, a.kind, a.error_type) for a in watcher.exchange.attempts]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_attempt_lasts_from_the_call_to_the_last_byte(watched, stream):
    async with watched() as (gateway, watcher):
        gateway.provider.enqueue(Script(delay=0.1, text="one two three", frame_delay=0.05))
        assert (await gateway.post(stream=stream)).status == 200
        (attempt,) = watcher.exchange.attempts
        assert attempts(watcher) == [("openai", "initial", "")]
        timings = watcher.exchange.timings
        assert timings.started < attempt.started < attempt.ended <= timings.ended
        assert attempt.ended - attempt.started > (0.2 if stream else 0.1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "error_type", "kinds"),
    [
        (Script.error(400, "bad"), "upstream_4xx", ["initial"]),
        (Script.error(401, "who"), "upstream_auth", ["initial"]),
        (Script.rate_limited(), "upstream_429", ["initial"]),
        (Script.error(500, "no"), "upstream_5xx", ["initial", "retry"]),
        (Script(refuse_connection=True), "upstream_connect", ["initial"]),
    ],
)
async def test_a_failed_attempt_has_its_error_type(watched, stream, script, error_type, kinds):
    async with watched() as (gateway, watcher):
        gateway.provider.default = script
        await gateway.post(stream=stream)
        assert attempts(watcher) == [("openai", kind, error_type) for kind in kinds]
        assert watcher.exchange.error_type == error_type
        assert watcher.exchange.attempts[0].ended is not None


async def test_a_stream_that_breaks_is_a_broken_attempt(watched):
    async with watched() as (gateway, watcher):
        gateway.provider.enqueue(Script(text="one two three", cut_after=2))
        await gateway.post(stream=True)
        assert attempts(watcher) == [("openai", "initial", "upstream_stream_broken")]
        assert (watcher.exchange.status, watcher.exchange.outcome) == (200, "server_error")


@pytest.mark.parametrize("status", [400, 422])
async def test_an_upstream_that_refuses_stream_options_is_asked_once_more_and_remembered(watched, status):
    async with watched() as (gateway, watcher):
        gateway.provider.default = Script(refuse_stream_options=status)
        for calls in (2, 1):
            before = len(gateway.provider.requests)
            answer = await gateway.post(stream=True)
            assert (answer.status, answer.text.endswith("data: [DONE]\n\n")) == (200, True)
            assert len(gateway.provider.requests) - before == len(watcher.exchange.attempts) == calls
        assert watcher.exchange.usage_source == "estimated"
        assert "stream_options" not in gateway.provider.requests[-1].json
    assert [a.kind for a in watcher.exchanges[0].attempts] == ["initial", "retry"]
    assert watcher.exchanges[0].attempts[0].error_type == "upstream_4xx"


async def test_a_refused_option_of_a_client_itself_reaches_that_client_and_nobody_else(watched):
    async with watched() as (gateway, watcher):
        gateway.provider.enqueue(Script.error(400, "Unknown parameter: 'stream_options.include_obfuscation'"))
        answer = await gateway.post(stream=True, stream_options={"include_obfuscation": False})
        assert answer.status == 400
        assert "stream_options" in answer.text
        await gateway.post(stream=True)
        assert gateway.provider.requests[-1].json["stream_options"] == {"include_usage": True}
        assert watcher.exchange.usage_source == "provider"


@pytest.mark.parametrize("forward", [False, True])
async def test_the_trace_goes_to_an_upstream_that_takes_part_in_it_alone(watched, forward):
    async with watched(forward_trace=forward) as (gateway, _):
        gateway.headers |= TRACE
        await gateway.post()
        await gateway.post(stream=True)
        for request in gateway.provider.requests:
            assert {n: v for n, v in request.headers.items() if n in TRACE} == (TRACE if forward else {})


async def test_the_price_of_the_model_is_known(watched):
    info = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    async with watched(model_info=info) as (gateway, watcher):
        await gateway.post()
        await asyncio.sleep(0)
        assert (watcher.exchange.price.input, watcher.exchange.price.output) == (1_000_000, 2_000_000)
