"""OpenTelemetry's own ASGI middleware around a gateway that traces: one span of the server, ours below it, in one trace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.trace import SpanKind, StatusCode

from crplugins import Gateway, PluginMiddleware
from crplugins.plugins.tracing.plugin import Tracing
from crplugins.testing import FakeProvider, Script
from tests.plugins.tracing.test_plugin import PARENT, TRACE, TRACEPARENT, Spans, id_of, parent_of, trace_of

SECRET = "sk-team-a-0123456789abcdef"
HELLO: Any = [{"role": "user", "content": "hi"}]


def middleware(app: Any, spans: Spans) -> Any:
    return OpenTelemetryMiddleware(app, tracer_provider=spans.provider)


def without_message_spans(app: Any, spans: Spans) -> Any:
    return OpenTelemetryMiddleware(app, tracer_provider=spans.provider, exclude_spans=["receive", "send"])


def fastapi(app: Any, spans: Spans) -> Any:
    outer = FastAPI()
    outer.mount("/", app)
    FastAPIInstrumentor.instrument_app(outer, tracer_provider=spans.provider)
    return outer


INSTRUMENTED = [middleware, without_message_spans, fastapi]


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def gateway(serve, blockbuster, spans):
    """`async with gateway(instrument) as (provider, ai):` serves what `instrument` makes of a tracing gateway."""
    blockbuster.deactivate()  # instrumented code reads what it likes, with code of ours further out on its stack

    @asynccontextmanager
    async def start(instrument: Any) -> AsyncIterator[Any]:
        async with FakeProvider() as provider:
            params = {"model": "openai/upstream-model", "api_base": provider.base_url, "api_key": "sk-upstream-1"}
            inner = Gateway(
                model_list=[{"model_name": "m", "litellm_params": params, "forward_trace": True}],
                keys=[{"id": "team-a", "secret": SECRET}],
            )
            app = instrument(PluginMiddleware(inner, plugins=[Tracing(spans.provider)]), spans)
            async with serve(app) as url:
                base = {"base_url": f"{url}/v1", "max_retries": 0, "default_headers": {"traceparent": TRACEPARENT}}
                async with openai.AsyncOpenAI(api_key=SECRET, **base) as ai:
                    yield provider, ai

    return start


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("instrument", INSTRUMENTED)
async def test_the_span_of_the_server_is_theirs_and_the_call_of_the_provider_stands_below_it(
    gateway, spans, instrument, stream
):
    async with gateway(instrument) as (provider, ai):
        raw = await ai.chat.completions.with_raw_response.create(model="m", messages=HELLO, stream=stream)
        if stream:
            assert [chunk async for chunk in raw.parse()]
        await until(spans, client=1, server=1)
    server, client = spans.server, spans.client
    assert (trace_of(server), parent_of(server)) == (TRACE, PARENT)
    assert (trace_of(client), parent_of(client), client.name) == (TRACE, id_of(server), "chat upstream-model")
    assert provider.last_request.headers["traceparent"] == f"00-{TRACE}-{id_of(server)}-01"
    assert server.attributes["http.status_code"] == 200
    assert server.attributes["crplugins.request_id"] == raw.headers["x-request-id"]
    assert (server.attributes["crplugins.key_id"], server.attributes["crplugins.model"]) == ("team-a", "m")
    assert client.attributes["gen_ai.usage.output_tokens"] > 0
    assert server.start_time <= client.start_time


@pytest.mark.parametrize("instrument", INSTRUMENTED)
async def test_a_refused_key_is_a_request_without_a_call(gateway, spans, instrument):
    async with gateway(instrument) as (_, ai):
        with pytest.raises(openai.AuthenticationError):
            await ai.with_options(api_key="sk-wrong").chat.completions.create(model="m", messages=HELLO)
        await until(spans, client=0, server=1)
    assert spans.server.attributes["http.status_code"] == 401
    assert "crplugins.request_id" in spans.server.attributes
    assert "crplugins.key_id" not in spans.server.attributes


@pytest.mark.parametrize("instrument", INSTRUMENTED)
async def test_a_broken_stream_is_an_error_of_the_call_below_their_span(gateway, spans, instrument):
    async with gateway(instrument) as (provider, ai):
        provider.default = Script(reset_after=2)
        with pytest.raises(openai.APIError):
            async for _ in await ai.chat.completions.create(model="m", messages=HELLO, stream=True):
                pass
        await until(spans, client=1, server=1)
    assert parent_of(spans.client) == id_of(spans.server)
    assert spans.client.attributes["error.type"] == "upstream_stream_broken"
    assert spans.client.status.status_code is StatusCode.ERROR


async def test_a_client_that_leaves_ends_both(gateway, spans):
    async with gateway(middleware) as (provider, ai):
        provider.default = Script(stall_after=2)
        stream = await ai.chat.completions.create(model="m", messages=HELLO, stream=True)
        await anext(stream)
        await stream.close()
        await until(spans, client=1, server=1)
    assert parent_of(spans.client) == id_of(spans.server)
    assert spans.client.end_time <= spans.server.end_time
    assert spans.server.attributes["crplugins.key_id"] == "team-a"


async def test_ours_is_the_span_of_the_server_where_theirs_stands_further_in(serve, blockbuster, spans):
    blockbuster.deactivate()
    async with FakeProvider() as provider:
        params = {"model": "openai/upstream-model", "api_base": provider.base_url, "api_key": "sk-upstream-1"}
        inner = Gateway(
            model_list=[{"model_name": "m", "litellm_params": params}], keys=[{"id": "team-a", "secret": SECRET}]
        )
        app = PluginMiddleware(without_message_spans(inner, spans), plugins=[Tracing(spans.provider)])
        async with serve(app) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET) as ai:
            await ai.chat.completions.create(model="m", messages=HELLO)
            await until(spans, client=1, server=1)
    [theirs] = spans.of(SpanKind.INTERNAL)
    assert parent_of(theirs) == parent_of(spans.client) == id_of(spans.server)
    assert spans.server.name == "POST /v1/chat/completions"


async def until(spans: Spans, *, client: int, server: int) -> None:
    """So many spans of the kinds have ended; there may be others."""
    async with asyncio.timeout(60):
        while [len(spans.of(SpanKind.CLIENT)), len(spans.of(SpanKind.SERVER))] != [client, server]:  # noqa: ASYNC110  # an exporter tells nobody
            await asyncio.sleep(0.005)
