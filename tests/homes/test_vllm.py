"""`vllm serve --middleware crplugins.homes.vllm.Middleware`, before a server shaped like vLLM's, on real sockets."""

import asyncio
import importlib
import inspect
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from types import SimpleNamespace
from typing import Any

import aiohttp
import openai
import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CollectorRegistry, Counter, make_asgi_app
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Mount

from crplugins.testing import lifespan
from tests.homes.host_model import HostModel

SECRET = "sk-team-a-0123456789"
HELLO = [{"role": "user", "content": "hi"}]
CONFIG = """
model_list:
  - model_name: llama
    litellm_params: {{model: hosted_vllm/llama}}
    model_info: {{input_cost_per_token: 1.0e-8, output_cost_per_token: 2.0e-8}}
keys:
  - {{id: team-a, secret: {secret}, team: search, models: [fast]}}
  - {{id: team-b, secret: sk-team-b-0123456789, limits: {{requests_per_minute: 1}}}}
aliases: {{fast: llama}}
limits: {{per_model: {{llama: {{requests_per_minute: 50}}}}}}
budgets: {{per_key: {{usd: 1, period: day}}}}
ledger: {{url: "sqlite:///{folder}/usage.db", commit_seconds: 0}}
metrics: {{token: null}}
"""


def vllm_app(model: HostModel, *middleware: str, api_key: str | None = None) -> FastAPI:
    """As `build_app` of vLLM 0.32 does it (vllm/entrypoints: launchers/app.py, serve/middleware/register.py)."""
    app = FastAPI(lifespan=_nothing_to_start)

    @app.get("/health")
    async def health() -> Response:
        return Response(status_code=200)

    @app.get("/v1/models")
    async def models() -> Any:
        return {"object": "list", "data": [{"id": "llama", "object": "model", "created": 1, "owned_by": "vllm"}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Any:
        body = await request.json()
        if body["model"] != "llama":
            error = {"message": f"The model `{body['model']}` does not exist.", "type": "NotFoundError", "code": 404}
            return JSONResponse({"error": {**error, "param": "model"}}, 404)
        if body.get("stream"):
            return StreamingResponse(model.stream(body), media_type="text/event-stream")
        return await _while_the_client_waits(request, model, body)

    registry = CollectorRegistry()
    Counter("vllm:prompt_tokens", "Prompt tokens.", registry=registry)
    app.routes.append(Mount("/metrics", make_asgi_app(registry)))
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    if api_key is not None:
        app.add_middleware(OwnKey, tokens=[api_key])
    app.add_middleware(OwnRequestId)
    for name in middleware:
        module_path, object_name = name.rsplit(".", 1)
        imported = getattr(importlib.import_module(module_path), object_name)
        assert inspect.isclass(imported)
        app.add_middleware(imported)
    app.middleware_stack = app.build_middleware_stack()  # SageMaker's bootstrap does, long before the lifespan
    return app


class OwnKey:
    """`--api-key`: the AuthenticationMiddleware of vLLM."""

    def __init__(self, app: Any, tokens: list[str]) -> None:
        self.app, self.api_tokens = app, tokens

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1"):
            key = Headers(scope=scope).get("authorization", "").removeprefix("Bearer ")
            if key not in self.api_tokens:
                await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class OwnRequestId:
    """`--enable-request-id-headers`: the XRequestIdMiddleware of vLLM, which keeps what the client sent."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_id(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"]).append("X-Request-Id", "vllms-own")
            await send(message)

        await self.app(scope, receive, with_id if scope["type"] == "http" else send)


async def _while_the_client_waits(request: Request, model: HostModel, body: Any) -> Any:
    """vLLM's `with_cancellation`: the work is given up when the client leaves, and `null` is the answer."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answering, leaving = asyncio.create_task(_answer(model, body)), asyncio.create_task(gone())
    done, pending = await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return JSONResponse(answering.result()) if answering in done else None


async def _answer(model: HostModel, body: Any) -> Any:
    try:
        answer = model.answer(body)
        if model.stalls:
            await asyncio.sleep(60)
        return answer
    finally:
        model.left.set()


@asynccontextmanager
async def _nothing_to_start(app: FastAPI) -> AsyncIterator[None]:
    yield


@pytest.fixture
def configured(monkeypatch, tmp_path, blockbuster):
    """Writes the file; the app that vLLM would run, and its model. Reading the file, once and early, may block."""
    for function in blockbuster.functions.values():
        function.can_block_in("crplugins/homes/vllm.py", {"_document"})
        function.can_block_in("fastapi/routing.py", {"_extract_endpoint_context"})

    def write(text: str = CONFIG, *, stalls: bool = False, **options: Any) -> Any:
        path = tmp_path / "gateway.yaml"
        path.write_text(text.format(secret=SECRET, folder=tmp_path))
        monkeypatch.setenv("CRPLUGINS_CONFIG", str(path))
        model = HostModel(stalls=stalls)
        app = vllm_app(model, "crplugins.homes.vllm.Middleware", **options)
        return SimpleNamespace(app=app, model=model, database=tmp_path / "usage.db")

    return write


def client(url: str, key: str = SECRET) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)


async def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
        return response.status, await response.text()


async def test_the_official_client_talks_to_vllm_through_all_of_it(serve, configured):
    here = configured()
    async with serve(here.app) as url:
        async with client(url) as ai:
            answer = await ai.chat.completions.create(model="fast", messages=HELLO, extra_body={"top_k": 5})
            assert (answer.model, answer.choices[0].message.content) == ("fast", "one two three")
            stream = await ai.chat.completions.create(model="fast", messages=HELLO, stream=True)
            chunks = [chunk async for chunk in stream]
            assert "".join(c.choices[0].delta.content or "" for c in chunks) == "one two three"
            assert {(c.model, c.usage) for c in chunks} == {("fast", None)}
            with pytest.raises(openai.NotFoundError):
                await ai.chat.completions.create(model="llama-secret", messages=HELLO)
            assert [m.id async for m in ai.models.list()] == ["llama"]
        scraped = (await fetch(url + "/crplugins/metrics"))[1]
    assert here.model.asked[0]["model"] == "llama"
    assert here.model.asked[0]["top_k"] == 5
    assert here.model.asked[1]["stream_options"] == {"include_usage": True}
    assert 'crplugins_input_tokens_total{key_id="team-a",model="fast"} 10.0' in scraped
    assert 'crplugins_budget_limit_usd{key_id="team-a"} 1.0' in scraped
    assert "crplugins_ledger_dropped" in scraped
    with closing(sqlite3.connect(here.database)) as books:
        rows = books.execute(
            "select key_id, team, requested_model, served_model, input_tokens, status from usage order by started_at"
        ).fetchall()
    good = ("team-a", "search", "fast", "llama", 5, 200)
    assert rows == [good, good, ("team-a", "search", "llama-secret", None, 0, 404)]


async def test_keys_and_limits_are_enforced_with_the_bodies_of_openai(serve, configured):
    here = configured()
    async with serve(here.app) as url:
        async with client(url, "sk-wrong") as ai:
            with pytest.raises(openai.AuthenticationError) as error:
                await ai.chat.completions.create(model="fast", messages=HELLO)
            assert error.value.body["code"] == "invalid_api_key"
            with pytest.raises(openai.AuthenticationError):
                await ai.models.list()
        async with client(url, "sk-team-b-0123456789") as ai:
            await ai.chat.completions.create(model="llama", messages=HELLO)
            with pytest.raises(openai.RateLimitError) as limited:
                await ai.chat.completions.create(model="llama", messages=HELLO)
            assert limited.value.body["code"] == "rate_limit_exceeded"
    assert len(here.model.asked) == 1


async def test_a_name_without_an_alias_passes_as_it_is(serve, configured):
    here = configured("metrics: {{token: null}}\n")
    async with serve(here.app) as url, client(url, "any") as ai:
        await ai.chat.completions.create(model="llama", messages=HELLO)
        with pytest.raises(openai.NotFoundError, match="`other` does not exist"):
            await ai.chat.completions.create(model="other", messages=HELLO)


async def test_health_and_the_metrics_of_vllm_need_no_key(serve, configured):
    async with serve(configured().app) as url:
        assert (await fetch(url + "/health"))[0] == 200
        assert "vllm:prompt_tokens" in (await fetch(url + "/metrics/"))[1]
        assert (await fetch(url + "/v1/models"))[0] == 401
        assert (await fetch(url + "/openapi.json"))[0] == 401


async def test_metrics_where_vllm_has_its_own_hide_them_and_say_so(serve, configured, caplog):
    here = configured("metrics: {{path: /metrics, token: null}}\n")
    async with serve(here.app) as url:
        assert "crplugins_build_info" in (await fetch(url + "/metrics"))[1]
    assert "metrics.path is /metrics and hides vLLM's own metrics; /crplugins/metrics would not" in caplog.text


async def test_a_browser_gets_its_preflight_answered_by_vllm(serve, configured):
    async with serve(configured().app) as url:
        asked = {"Origin": "http://x", "Access-Control-Request-Method": "POST"}
        assert (await fetch(url + "/v1/chat/completions", "OPTIONS", **asked))[0] == 200


@pytest.mark.parametrize(("text", "closed"), [(CONFIG, True), ("aliases: {{a: b}}\n", False)])
async def test_a_websocket_that_nobody_could_ask_for_a_key_is_closed(configured, text, closed):
    app = configured(text).app

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        await websocket.close(4000)

    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await app({"type": "websocket", "path": "/v1/realtime", "headers": [], "query_string": b""}, receive, send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008 if closed else 4000)]


async def test_without_keys_everybody_may_and_the_log_says_so(configured, caplog):
    async with lifespan(configured("aliases: {{a: b}}\n").app):
        assert "no keys are configured: whoever reaches vLLM may use it" in caplog.text


async def test_a_client_that_leaves_is_recorded(serve, configured):
    here = configured()
    gone = asyncio.Event()

    async def endless(body: Any) -> AsyncIterator[bytes]:
        try:
            for frame in list(HostModel().stream(body))[:1]:
                yield frame
            await asyncio.sleep(60)
        finally:
            gone.set()

    here.model.stream = endless
    async with serve(here.app) as url, client(url) as ai:
        stream = await ai.chat.completions.create(model="fast", messages=HELLO, stream=True)
        async for _ in stream:
            break
        await stream.close()
        await asyncio.wait_for(gone.wait(), 60)
    with closing(sqlite3.connect(here.database)) as books:
        rows = books.execute("select outcome, status, usage_source from usage").fetchall()
    assert rows == [("cancelled", 200, "estimated")]


async def test_a_client_that_leaves_before_its_plain_answer_is_recorded_although_vllm_says_null(serve, configured):
    here = configured(stalls=True)
    begun = asyncio.Event()
    here.model.answer = lambda body: begun.set()
    async with serve(here.app) as url, client(url) as ai:
        asking = asyncio.ensure_future(ai.chat.completions.create(model="fast", messages=HELLO))
        await asyncio.wait_for(begun.wait(), 60)
        asking.cancel()
        await asyncio.wait_for(here.model.left.wait(), 60)
    with closing(sqlite3.connect(here.database)) as books:
        rows = books.execute("select outcome, status, error_type from usage").fetchall()
    assert rows == [("cancelled", 499, "client_disconnected")]


async def test_an_error_of_vllm_in_mid_stream_passes_and_is_recorded(serve, configured):
    """`create_streaming_error_response`: one frame whose code is a number, then [DONE]."""
    here = configured()
    first = next(HostModel().stream({"model": "llama"}))
    failure = {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "param": None, "code": 500}
    frame = f"data: {json.dumps({'error': failure})}\n\n".encode()
    here.model.stream = lambda body: iter([first, frame, b"data: [DONE]\n\n"])
    async with serve(here.app) as url, client(url) as ai:
        stream = await ai.chat.completions.create(model="fast", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="EngineCore encountered an issue") as error:
            [chunk async for chunk in stream]
        assert error.value.body == failure
        # The SDK leaves there and then, which may come before the end. This client reads on.
        async with ai.chat.completions.with_streaming_response.create(
            model="fast", messages=HELLO, stream=True
        ) as answer:
            assert (await answer.text()).endswith("data: [DONE]\n\n")
    with closing(sqlite3.connect(here.database)) as books:
        rows = books.execute("select outcome, status, error_type from usage order by started_at").fetchall()
    assert rows[1] == ("server_error", 200, "upstream_stream_broken")


async def test_there_is_one_request_id_and_it_is_the_records(serve, configured):
    here = configured()
    async with serve(here.app) as url, client(url) as ai:
        answer = await ai.chat.completions.with_raw_response.create(model="fast", messages=HELLO)
        ids = answer.headers.get_list("x-request-id")
    with closing(sqlite3.connect(here.database)) as books:
        assert [(id_,) for id_ in ids] == books.execute("select request_id from usage").fetchall()


async def test_a_key_of_vllms_own_besides_is_warned_of(serve, configured, caplog):
    here = configured(api_key=SECRET)
    warned = "vLLM's own --api-key is set too: of the keys let in here it refuses all but that one"
    assert warned in caplog.text
    async with serve(here.app) as url:
        async with client(url) as ai:
            await ai.chat.completions.create(model="fast", messages=HELLO)
        async with client(url, "sk-team-b-0123456789") as ai:
            with pytest.raises(openai.AuthenticationError) as refused:
                await ai.chat.completions.create(model="fast", messages=HELLO)
            assert refused.value.response.json() == {"error": "Unauthorized"}  # vLLM's own words
    caplog.clear()
    configured("aliases: {{a: b}}\n", api_key=SECRET)
    assert warned not in caplog.text


@pytest.mark.parametrize(("store", "warned"), [("memory", True), ("sqlite:///limits.db", False)])
async def test_several_api_servers_that_limit_on_their_own_are_warned_of(
    serve, configured, monkeypatch, tmp_path, caplog, store, warned
):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    here = configured(f"keys: [{{{{id: a, secret: {{secret}}}}}}]\nlimits: {{{{store: '{store}'}}}}\n")
    async with serve(here.app):
        assert ("limits.store is memory, and this is one of several processes" in caplog.text) == warned


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kyes: []\n", "gateway.yaml, line 1: kyes: unknown key, did you mean 'keys'?"),
        ("aliases: {{}}\nkeys:\n", "gateway.yaml, line 2: keys: must not be empty"),
        ("metrics: {{token: null}}\nlimits: {{store: carrier-pigeon}}\n", "gateway.yaml, line 2: limits.store"),
        ("keys: [\n", "gateway.yaml, line"),
    ],
)
async def test_with_a_wrong_file_the_server_does_not_start_and_says_the_line(serve, configured, caplog, text, sentence):
    with pytest.raises(RuntimeError, match="could not start"):
        async with serve(configured(text).app):
            pass
    assert sentence in caplog.text


@pytest.mark.parametrize(
    ("path", "reason"), [("", "CRPLUGINS_CONFIG names no file"), ("/no/file.yaml", "No such file")]
)
async def test_without_a_file_it_does_not_start_either(serve, monkeypatch, caplog, path, reason):
    monkeypatch.setenv("CRPLUGINS_CONFIG", path)
    app = vllm_app(HostModel(), "crplugins.homes.vllm.Middleware")
    with pytest.raises(RuntimeError, match="could not start"):
        async with serve(app):
            pass
    assert reason in caplog.text
