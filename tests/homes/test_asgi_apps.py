"""The named middlewares in front of applications of other people's frameworks, on real sockets."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from types import SimpleNamespace
from typing import Any

import aiohttp
import openai
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from crplugins import (
    AuthMiddleware,
    HostPrincipalMiddleware,
    MetricsMiddleware,
    ModelAliasMiddleware,
    RateLimitMiddleware,
    StreamUsageMiddleware,
    UsageMiddleware,
)
from tests.homes.host_apps import APPS, CHAT, around, starlette_app
from tests.homes.host_model import HostModel

SECRET = "sk-team-a-0123456789"
HELLO = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: what a framework does on the event loop is its own affair, but has code of ours further out on its stack."""


class Records(list[Any]):
    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()

    def append(self, record: Any) -> None:
        super().append(record)
        self.arrived.set()


def layers(records: list[Any], **usage: Any) -> list[Middleware]:
    return [
        Middleware(StreamUsageMiddleware),
        Middleware(RateLimitMiddleware, limits={"per_key": {"requests_per_minute": 3, "tokens_per_minute": 100_000}}),
        Middleware(ModelAliasMiddleware, aliases={"fast": "llama"}),
        Middleware(UsageMiddleware, sinks=[records.append], **usage),
        Middleware(AuthMiddleware, keys=[{"id": "team-a", "secret": SECRET}]),
        Middleware(MetricsMiddleware, metrics={"token": None}, models=["fast"]),
    ]


@pytest.fixture(params=list(APPS))
def host(request, serve):
    """`async with host() as here`: the application with all of ours, its model, its records, clients."""
    make = APPS[request.param]
    pytest.importorskip(request.param)

    @asynccontextmanager
    async def start(*, stalls: bool = False, **usage: Any) -> AsyncIterator[Any]:
        records = Records()
        model = HostModel(stalls=stalls)
        app = make(model, layers(records, **usage))
        async with serve(app) as url, client(url) as ai, aiohttp.ClientSession(url) as session:
            yield SimpleNamespace(url=url, model=model, records=records, ai=ai, session=session)

    start.framework = request.param
    return start


def client(url: str, key: str = SECRET) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)


async def test_a_request_without_a_good_key_gets_the_body_of_openai(host):
    async with host() as here:
        async with here.session.post(CHAT, json={"model": "fast", "messages": HELLO}) as response:
            assert response.status == 401
            assert response.content_type == "application/json"
            error = (await response.json())["error"]
            assert response.headers["x-request-id"]
        assert set(error) == {"message", "type", "param", "code"}
        async with client(here.url, "sk-wrong") as stranger:
            with pytest.raises(openai.AuthenticationError) as refused:
                await stranger.chat.completions.create(model="fast", messages=HELLO)
        async with here.session.get("/hello") as response:
            assert response.status == 401
        async with here.session.get("/hello", headers={"authorization": f"Bearer {SECRET}"}) as response:
            assert await response.json() == {"hello": "host"}
    assert refused.value.body["code"] == "invalid_api_key"
    assert here.model.asked == []
    assert here.records == []


async def test_a_plain_answer_has_the_asked_name_the_limits_and_a_record(host):
    async with host() as here:
        raw = await here.ai.chat.completions.with_raw_response.create(model="fast", messages=HELLO)
        answer = raw.parse()
    assert (answer.model, answer.choices[0].message.content) == ("fast", "one two three")
    assert raw.headers["x-ratelimit-remaining-requests"] == "2"
    assert raw.headers["x-request-id"] == here.records[0].request_id
    assert [asked["model"] for asked in here.model.asked] == ["llama"]
    [record] = here.records
    assert (record.key_id, record.requested_model, record.served_model) == ("team-a", "fast", "llama")
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (5, 3, "provider")
    assert (record.status, record.outcome, record.stream) == (200, "ok", False)


@pytest.mark.parametrize("asks", [False, True])
async def test_a_stream_is_asked_for_its_usage_and_shows_it_to_who_asked(host, asks):
    more: Any = {"stream_options": {"include_usage": True}} if asks else {}
    async with host() as here:
        stream = await here.ai.chat.completions.create(model="fast", messages=HELLO, stream=True, **more)
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two three"
    assert {c.model for c in chunks} == {"fast"}
    assert [c.usage.total_tokens for c in chunks if c.usage] == ([8] if asks else [])
    assert here.model.asked[0]["stream_options"] == {"include_usage": True}
    [record] = here.records
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage_source) == (5, 3, "provider")


async def test_too_many_requests_are_refused_and_recorded(host):
    async with host() as here:
        for _ in range(3):
            await here.ai.chat.completions.create(model="fast", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as refused:
            await here.ai.chat.completions.create(model="fast", messages=HELLO)
    assert refused.value.body["code"] == "rate_limit_exceeded"
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert sorted(record.outcome for record in here.records) == ["limited", "ok", "ok", "ok"]  # Django ends late
    assert len(here.model.asked) == 3


async def test_metrics_are_served_and_agree_with_the_records(host):
    async with host() as here:
        await here.ai.chat.completions.create(model="fast", messages=HELLO)
        await asyncio.wait_for(here.records.arrived.wait(), 60)
        async with here.session.get("/metrics") as response:
            scraped = await response.text()
    assert 'crplugins_input_tokens_total{key_id="team-a",model="fast"} 5.0' in scraped
    assert 'crplugins_limit_utilization_ratio{key_id="team-a"' in scraped


async def test_a_client_that_leaves_ends_the_work_and_leaves_a_record(host):
    if host.framework == "blacksheep":
        pytest.skip("BlackSheep does not listen for its client while it streams")
    async with host(stalls=True) as here:
        stream = await here.ai.chat.completions.create(model="fast", messages=HELLO, stream=True)
        async for _ in stream:
            break
        await stream.close()
        await asyncio.wait_for(here.model.left.wait(), 60)
        await asyncio.wait_for(here.records.arrived.wait(), 60)
    [record] = here.records
    assert (record.status, record.outcome, record.usage_source) == (200, "cancelled", "estimated")


async def test_records_are_in_the_ledger_when_the_server_has_stopped(host, tmp_path):
    async with host(ledger={"url": f"sqlite:///{tmp_path}/usage.db", "commit_seconds": 0}) as here:
        await here.ai.chat.completions.create(model="fast", messages=HELLO)
    with closing(sqlite3.connect(tmp_path / "usage.db")) as books:
        assert books.execute("select key_id, input_tokens, output_tokens from usage").fetchall() == [("team-a", 5, 3)]


# Where the application stands.


async def test_mounted_under_a_path_of_a_host_that_tells_it_nothing_of_its_life(serve):
    records: list[Any] = []
    inner = starlette_app(HostModel(), layers(records))
    async with serve(Starlette(routes=[Mount("/ai", inner)])) as url, client(url + "/ai") as ai:
        await ai.chat.completions.create(model="fast", messages=HELLO)
        async with aiohttp.ClientSession() as session:
            async with session.get(url + "/ai/hello") as response:
                assert response.status == 401
            async with session.get(url + "/ai/metrics") as response:
                assert "crplugins_requests_total" in await response.text()
    assert [record.key_id for record in records] == ["team-a"]


async def test_behind_a_root_path(serve):
    records: list[Any] = []
    app = starlette_app(HostModel(), layers(records))
    async with serve(app, root_path="/ai") as url, client(url) as ai, aiohttp.ClientSession() as session:
        await ai.chat.completions.create(model="fast", messages=HELLO)
        async with session.get(url + "/metrics") as response:
            assert "crplugins_requests_total" in await response.text()
    assert len(records) == 1


async def test_as_middleware_of_litestar_itself(serve):
    litestar = pytest.importorskip("litestar")
    from litestar.middleware import DefineMiddleware

    records: list[Any] = []
    model = HostModel()

    @litestar.post(CHAT, status_code=200)
    async def chat(request: litestar.Request) -> dict[str, Any]:
        return model.answer(await request.json())

    inwards = [layer for layer in reversed(layers(records)) if layer.cls is not MetricsMiddleware]
    app = litestar.Litestar(
        [chat], logging_config=None, middleware=[DefineMiddleware(layer.cls, **layer.kwargs) for layer in inwards]
    )
    async with serve(app) as url, client(url) as ai:
        assert (await ai.chat.completions.create(model="fast", messages=HELLO)).model == "fast"
        async with client(url, "sk-wrong") as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.chat.completions.create(model="fast", messages=HELLO)
    assert [record.served_model for record in records] == ["llama"]


async def test_the_caller_is_whom_starlettes_own_authentication_has_found(serve):
    from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
    from starlette.middleware.authentication import AuthenticationMiddleware

    class Cookie(AuthenticationBackend):
        async def authenticate(self, conn: Any) -> Any:
            name = conn.cookies.get("user")
            return None if name is None else (AuthCredentials(["authenticated"]), SimpleUser(name))

    records: list[Any] = []
    own = [layer for layer in layers(records) if layer.cls not in (AuthMiddleware, MetricsMiddleware)]
    app = starlette_app(HostModel(), own)
    app.add_middleware(HostPrincipalMiddleware)
    app.add_middleware(AuthenticationMiddleware, backend=Cookie())
    async with serve(app) as url, aiohttp.ClientSession(url) as session:
        async with session.post(CHAT, json={"model": "fast", "messages": HELLO}, cookies={"user": "ada"}) as response:
            assert response.status == 200
            assert response.headers["x-ratelimit-remaining-requests"] == "2"
        async with session.get("/hello") as response:
            assert response.status == 200
    async with serve(app) as url, aiohttp.ClientSession(url) as session:
        async with session.post(CHAT, json={"model": "fast", "messages": HELLO}) as response:
            assert (response.status, json.loads(await response.text())["error"]["message"]) == (
                401,
                "You are not signed in.",
            )
    assert [record.key_id for record in records] == ["ada"]


def test_around_is_what_add_middleware_does():
    inner = object()
    assert around(inner, []) is inner
