"""Spans as an SDK of the process gets them, and the trace context that upstreams are sent."""

import asyncio
import json
import logging
import sys
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.usage import Price, TokenUsage
from crplugins.homes.gateway.app import Gateway
from crplugins.plugins.access_log import AccessLog
from crplugins.plugins.tracing.plugin import Tracing
from crplugins.testing import Drive, FakeProvider, FrozenClock, PluginContract, Script, drive

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET = "sk-team-a-0123456789abcdef"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "a word in no span"}]}
STREAM = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"no span says this"}}]}\n\n'


class Spans:
    """An SDK that keeps the spans it is given."""

    def __init__(self, sampler=None):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler or ParentBased(ALWAYS_ON), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def finished(self):
        """Oldest end first."""
        return self.exporter.get_finished_spans()

    def of(self, kind):
        return [span for span in self.finished if span.kind is kind]

    @property
    def server(self):
        [span] = self.of(SpanKind.SERVER)
        return span

    @property
    def client(self):
        [span] = self.of(SpanKind.CLIENT)
        return span

    async def until(self, count):
        async with asyncio.timeout(60):
            while len(self.finished) < count:  # noqa: ASYNC110  # an exporter tells nobody
                await asyncio.sleep(0.005)


class TestTracing(PluginContract):
    def make_plugin(self) -> Plugin:
        return Tracing()


class TestTracingWithAnSdk(PluginContract):
    spans = Spans()  # made here: an SDK starts with reading files

    def make_plugin(self) -> Plugin:
        return Tracing(self.spans.provider)


@pytest.fixture
def spans():
    return Spans()


def parent_of(span):
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def trace_of(span):
    return f"{span.context.trace_id:032x}"


def id_of(span):
    return f"{span.context.span_id:016x}"


# On sockets: the gateway in front of a provider


@pytest.fixture
def behind(serve, spans):
    """`async with behind() as (provider, post):` is a gateway that is traced; `post` keeps the headers it is given."""

    @asynccontextmanager
    async def start(*, forward_trace=True, tracing=None):
        async with FakeProvider() as provider:
            params = {"model": "openai/upstream-model", "api_base": provider.base_url, "api_key": "sk-upstream-1"}
            gateway = Gateway(
                model_list=[{"model_name": "m", "litellm_params": params, "forward_trace": forward_trace}],
                keys=[{"id": "team-a", "secret": SECRET}],
            )
            app = PluginMiddleware(gateway, plugins=[tracing or Tracing(spans.provider)])
            async with serve(app) as url, aiohttp.ClientSession() as session:

                def post(*, secret=SECRET, headers=(), **body):
                    sent = {"authorization": f"Bearer {secret}", **dict(headers)}
                    return session.post(f"{url}/v1/chat/completions", json=CHAT | body, headers=sent)

                yield provider, post

    return start


async def test_a_span_for_the_request_and_one_for_the_call_of_the_provider(behind, spans):
    async with behind() as (_, post), post(headers={"traceparent": TRACEPARENT}) as response:
        document = await response.json()
        await spans.until(2)
    server, client = spans.server, spans.client
    assert (server.name, client.name) == ("POST /v1/chat/completions", "chat upstream-model")
    assert (trace_of(server), parent_of(server)) == (TRACE, PARENT)
    assert (trace_of(client), parent_of(client)) == (TRACE, id_of(server))
    assert server.start_time <= client.start_time <= client.end_time <= server.end_time
    assert abs(server.end_time - time.time_ns()) < 5e9
    usage = document["usage"]
    assert dict(server.attributes) == {
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "http.response.status_code": 200,
        "crplugins.request_id": response.headers["x-request-id"],
        "crplugins.key_id": "team-a",
        "crplugins.model": "m",
        "crplugins.outcome": "ok",
        "crplugins.attempts": 1,
        "crplugins.usage_source": "provider",
    }
    assert dict(client.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "upstream-model",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "upstream-model",
        "openai.response.service_tier": "default",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_write.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
    }
    assert server.status.status_code is client.status.status_code is StatusCode.UNSET


async def test_without_a_traceparent_a_trace_begins_here(behind, spans):
    async with behind() as (provider, post), post() as response:
        await response.read()
        await spans.until(2)
    assert parent_of(spans.server) is None
    assert trace_of(spans.client) == trace_of(spans.server)
    sent = provider.last_request.headers["traceparent"]
    assert sent.startswith(f"00-{trace_of(spans.server)}-{id_of(spans.server)}-")
    assert int(sent[-2:], 16) & 1


async def test_an_upstream_that_opted_in_goes_on_with_our_trace(behind, spans):
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "baggage": "user=u1"}
    async with behind() as (provider, post), post(headers=headers) as response:
        await response.read()
        await spans.until(2)
    sent = provider.last_request.headers
    assert sent["traceparent"] == f"00-{TRACE}-{id_of(spans.server)}-01"
    assert (sent["tracestate"], sent["baggage"]) == ("vendor=1", "user=u1")


async def test_an_upstream_that_did_not_is_told_nothing(behind, spans):
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1", "baggage": "user=u1"}
    async with behind(forward_trace=False) as (provider, post), post(headers=headers) as response:
        await response.read()
    assert provider.last_request.headers.keys().isdisjoint(headers)


async def test_without_an_sdk_the_very_context_of_the_client_is_forwarded(behind):
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1,other=2", "baggage": "user=u1"}
    async with behind(tracing=Tracing()) as (provider, post), post(headers=headers) as response:
        await response.read()
    assert {name: provider.last_request.headers[name] for name in headers} == headers


async def test_without_an_sdk_and_without_a_trace_there_is_none(behind):
    async with behind(tracing=Tracing()) as (provider, post), post() as response:
        await response.read()
    assert "traceparent" not in provider.last_request.headers


async def test_a_stream_ends_its_span_behind_its_last_byte(behind, spans):
    async with behind() as (provider, post):
        provider.default = Script(frame_delay=0.01)
        async with post(stream=True) as response:
            await response.content.readany()
            assert spans.finished == ()
            await response.read()
            await spans.until(2)
    client = spans.client
    assert client.attributes["gen_ai.request.stream"] is True
    assert 0 < client.attributes["gen_ai.response.time_to_first_chunk"] < 5
    assert client.attributes["gen_ai.usage.output_tokens"] > 0
    assert client.end_time - client.start_time > 1e9 * client.attributes["gen_ai.response.time_to_first_chunk"]


async def test_a_client_that_leaves_ends_its_spans(behind, spans):
    async with behind() as (provider, post):
        provider.default = Script(stall_after=2)
        response = await post(stream=True)
        await response.content.readany()
        response.close()
        await spans.until(2)
    server = spans.server
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["error.type"] == "client_disconnected"
    assert server.status.status_code is StatusCode.UNSET
    assert spans.client.end_time <= server.end_time


async def test_an_upstream_that_fails_is_an_error_on_both_spans(behind, spans):
    async with behind() as (provider, post):
        provider.default = Script(status=504)
        async with post() as response:
            await response.read()
            await spans.until(2)
    for span in (spans.server, spans.client):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "upstream_5xx"
    assert spans.server.attributes["http.response.status_code"] == response.status
    assert "gen_ai.response.model" not in spans.client.attributes


async def test_a_stream_that_breaks_is_an_error_though_its_status_was_200(behind, spans):
    async with behind() as (provider, post):
        provider.default = Script(reset_after=2)
        async with post(stream=True) as response:
            assert b"[DONE]" in await response.read()
            await spans.until(2)
    assert spans.server.attributes["http.response.status_code"] == 200
    for span in (spans.server, spans.client):
        assert span.attributes["error.type"] == "upstream_stream_broken"
        assert span.status.status_code is StatusCode.ERROR


async def test_a_client_without_a_good_key_is_no_error_of_the_gateway(behind, spans):
    async with behind() as (_, post), post(secret="sk-wrong") as response:
        await response.read()
        await spans.until(1)
    [server] = spans.finished
    assert (server.attributes["http.response.status_code"], server.attributes["error.type"]) == (401, "unauthenticated")
    assert server.status.status_code is StatusCode.UNSET
    assert "crplugins.key_id" not in server.attributes


async def test_no_text_of_requests_or_answers_and_no_secret_is_in_a_span(behind, spans):
    async with behind() as (provider, post):
        provider.default = Script(text="an answer in no span")
        for stream in (False, True):
            async with post(stream=stream, user="u-1", metadata={"a": "in no span"}) as response:
                assert "answer" in await response.text()
        await spans.until(4)
    said = "".join(span.to_json() for span in spans.finished)
    assert "in no span" not in said
    assert all(word not in said for word in (SECRET, "sk-upstream-1", "u-1", "127.0.0.1"))


# By hand: what a real provider does not do on demand


def told(spans, *plugins, app):
    return PluginMiddleware(app, plugins=[Tracing(spans.provider), *plugins])


async def ok(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}", "more_body": False})


async def test_retries_and_fallbacks_are_siblings_with_their_own_times(spans):
    clock = FrozenClock()

    async def app(scope, receive, send):
        exchange = scope["crplugins.exchange"]
        for provider, error in (("azure", "upstream_429"), ("azure", "upstream_timeout"), ("groq", "")):
            attempt = exchange.begin_attempt(provider)
            clock.advance(2)
            attempt.ended, attempt.error_type = clock(), error
            clock.advance(1)
        await ok(scope, receive, send)

    traced = PluginMiddleware(app, plugins=[Tracing(spans.provider)], clock=clock)
    await drive(traced, body=CHAT)
    calls, server = spans.of(SpanKind.CLIENT), spans.server
    assert {parent_of(call) for call in calls} == {id_of(server)}
    assert [call.attributes["gen_ai.provider.name"] for call in calls] == ["azure.ai.openai", "azure.ai.openai", "groq"]
    assert [call.attributes.get("error.type") for call in calls] == ["upstream_429", "upstream_timeout", None]
    assert [call.status.status_code for call in calls] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [(call.start_time - server.start_time) / 1e9 for call in calls] == [0, 3, 6]
    assert [(call.end_time - call.start_time) / 1e9 for call in calls] == [2, 2, 2]
    assert (server.end_time - server.start_time) / 1e9 == 9


async def test_a_call_without_an_end_of_its_own_ends_with_the_request(spans):
    async def app(scope, receive, send):
        scope["crplugins.exchange"].begin_attempt("openai")
        await ok(scope, receive, send)

    await drive(told(spans, app=app), body=CHAT)
    assert spans.client.end_time == spans.server.end_time


async def test_a_span_that_is_current_is_used_and_not_ended(spans):
    async def app(scope, receive, send):
        scope["crplugins.exchange"].begin_attempt("openai")
        await ok(scope, receive, send)

    with spans.provider.get_tracer("framework").start_as_current_span("its own", kind=SpanKind.SERVER) as own:
        answer = await drive(told(spans, app=app), body=CHAT, headers={"traceparent": TRACEPARENT})
        assert own.is_recording()
    assert len(spans.finished) == 2
    assert parent_of(spans.client) == id_of(spans.server)
    assert dict(spans.server.attributes) == {
        "crplugins.request_id": answer.headers["x-request-id"],
        "crplugins.model": "m",
        "crplugins.outcome": "server_error",
        "crplugins.attempts": 1,
        "crplugins.usage_source": "none",
        "crplugins.cost_usd": 0.0,
    }


async def test_spans_of_the_app_stand_below_ours_and_the_context_is_given_back(spans):
    seen = []

    async def app(scope, receive, send):
        seen.append(baggage.get_baggage("user"))
        with spans.provider.get_tracer("app").start_as_current_span("query"):
            await ok(scope, receive, send)

    before = context.get_current()
    await told(spans, app=app)(*asgi({"baggage": "user=u1"}))
    assert context.get_current() == before
    query = next(span for span in spans.finished if span.name == "query")
    assert parent_of(query) == id_of(spans.server)
    assert seen == ["u1"]


def asgi(headers):
    """One request in the task of the test."""
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "client": None, "root_path": ""}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        pass

    return scope, receive, send


@pytest.mark.parametrize("ending", ["refused", "a bug", "cancelled"])
async def test_however_it_ends_the_span_ends_once_and_the_context_is_given_back(spans, ending):
    class Ends(Plugin):
        async def on_request(self, exchange):
            if ending == "refused":
                raise GatewayError(403, "No.")
            if ending == "cancelled":
                raise asyncio.CancelledError
            raise LookupError("a bug")

    before = context.get_current()
    try:
        await told(spans, Ends(), app=ok)(*asgi({}))
    except asyncio.CancelledError:
        assert ending == "cancelled"
    assert len(spans.finished) == 1
    assert context.get_current() == before


async def test_a_client_that_leaves_a_foreign_app(spans):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": STREAM, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async with Drive(told(spans, app=app), body=CHAT) as call:
        await call.next_body()
        call.disconnect()
        await call.finish()
    [server] = spans.finished
    assert server.attributes["error.type"] == "client_disconnected"


async def test_two_boundaries_make_one_span(spans):
    async def between(scope, receive, send):
        await told(spans, app=ok)(scope, receive, send)

    await drive(told(spans, app=between), body=CHAT)
    assert [span.kind for span in spans.finished] == [SpanKind.SERVER]


async def test_what_is_not_sampled_costs_no_attributes_and_is_forwarded_as_such(monkeypatch):
    spans = Spans(ALWAYS_OFF)
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["crplugins.exchange"].trace_headers)
        await ok(scope, receive, send)

    monkeypatch.setattr("crplugins.plugins.tracing.spans.record_of", lambda _: pytest.fail("a record was made"))
    await drive(told(spans, app=app), body=CHAT, headers={"traceparent": TRACEPARENT})
    assert spans.finished == ()
    assert seen[0]["traceparent"].startswith(f"00-{TRACE}-")
    assert seen[0]["traceparent"].endswith("-00")


async def test_a_traceparent_that_is_none_is_not_followed_nor_forwarded(spans):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["crplugins.exchange"].trace_headers)
        await ok(scope, receive, send)

    for plugin in (Tracing(spans.provider), Tracing()):
        await drive(PluginMiddleware(app, plugins=[plugin]), body=CHAT, headers={"traceparent": f"00-{TRACE}-junk-01"})
    assert parent_of(spans.server) is None
    assert TRACE not in seen[0]["traceparent"]
    assert seen[1] == {}


async def test_two_traceparents_are_none(spans):
    other = TRACEPARENT.replace("4bf92f", "5bf92f")
    headers = [("content-type", "application/json"), ("traceparent", TRACEPARENT), ("traceparent", other)]
    await drive(PluginMiddleware(ok, plugins=[Tracing(spans.provider)]), body=CHAT, headers=headers)
    assert parent_of(spans.server) is None
    assert trace_of(spans.server) not in (TRACE, TRACE.replace("4bf92f", "5bf92f"))


HOSTILE = "m\n\x1b[31m\u2028\ud800\x00" + "long " * 10_000
"""An exporter that cannot encode half a surrogate pair, or a number of more than 64 bits, loses all spans of a batch."""


@pytest.mark.parametrize("stream", [False, True])
async def test_what_clients_and_providers_write_makes_no_span_large_or_broken(spans, stream):
    said = {"model": HOSTILE, "service_tier": HOSTILE, "id": HOSTILE}
    said["usage"] = {"prompt_tokens": 10**30, "completion_tokens": 10**30, "total_tokens": 2 * 10**30}
    choice = {"index": 0, ("delta" if stream else "message"): {"content": "hi"}, "finish_reason": HOSTILE}
    document = json.dumps(said | {"choices": [choice]}).encode()
    body = b"data: " + document + b"\n\ndata: [DONE]\n\n" if stream else document
    media = b"text/event-stream" if stream else b"application/json"

    async def app(scope, receive, send):
        exchange = scope["crplugins.exchange"]
        exchange.begin_attempt("openai")
        exchange.principal = Principal(HOSTILE)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", media)]})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    asked = json.dumps({**CHAT, "model": HOSTILE.replace("\ud800", ""), "stream": stream}).encode()
    await drive(told(spans, app=app), body=asked)
    server, client = spans.server, spans.client
    assert {"crplugins.model", "crplugins.key_id"} <= server.attributes.keys()
    assert {"gen_ai.response.model", "gen_ai.response.finish_reasons"} <= client.attributes.keys()
    for span in (server, client):
        texts = [span.name, *span.attributes.keys()]
        for value in span.attributes.values():
            texts += [value] if isinstance(value, str) else value if isinstance(value, tuple) else []
            assert not isinstance(value, int) or abs(value) < 2**63
        assert all(text.isprintable() and len(text.encode()) < 1_000 for text in texts)


async def test_the_access_log_names_the_trace(spans, caplog):
    caplog.set_level(logging.INFO, logger="crplugins.access")
    await drive(told(spans, AccessLog(), app=ok), body=CHAT)
    assert caplog.records[-1].crplugins["trace_id"] == trace_of(spans.server)


async def test_other_paths_make_no_span(spans):
    await drive(told(spans, app=ok), "GET", "/healthz")
    assert spans.finished == ()


def test_without_the_package_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "crplugins.plugins.tracing.plugin")
    with pytest.raises(ImportError, match=r"crplugins\[otel\]"):
        import crplugins.plugins.tracing.plugin  # noqa: F401


# Cost


@pytest.mark.bench
def test_the_cost():
    headers = [(b"host", b"gateway"), (b"user-agent", b"x"), (b"content-type", b"application/json")]
    headers.append((b"traceparent", TRACEPARENT.encode()))

    def request():
        exchange = Exchange("r", "POST", "/v1/chat/completions", headers, None, time.monotonic, Timings(1.0))
        exchange.principal, exchange.requested_model, exchange.status = Principal("a"), "m", 200
        exchange.usage, exchange.usage_source, exchange.price = TokenUsage(10, 10), "provider", Price(1, 1)
        exchange.begin_attempt("openai")
        return exchange

    def once(plugin):
        exchanges = [request() for _ in range(1000)]
        start = time.perf_counter()
        for exchange in exchanges:
            plugin.on_request(exchange)
            plugin.on_finish(exchange)
        return (time.perf_counter() - start) / 1000 * 1e6

    class Nowhere(InMemorySpanExporter):
        def export(self, spans):
            return None

    recorded = TracerProvider(shutdown_on_exit=False)
    recorded.add_span_processor(SimpleSpanProcessor(Nowhere()))
    plugins = {
        "no SDK": Tracing(),
        "SDK, not sampled": Tracing(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)),
        "SDK, both spans recorded": Tracing(recorded),
    }
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    for name, plugin in plugins.items():
        print(f"Tracing, {name}: {min(once(plugin) for _ in range(5)):.1f} us")
