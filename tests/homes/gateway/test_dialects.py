"""Every dialect through the own gateway, over real sockets: authenticated, renamed, limited, metered."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest

from crplugins.core.dialects import CHAT, COMPLETIONS, COUNT_TOKENS, EMBEDDINGS, MESSAGES, RESPONSES, Dialect
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.usage import TokenUsage
from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import UsageRecord, record_of
from crplugins.testing import FakeProvider
from tests.asgi_body import request_body
from tests.conftest import serving
from tests.core.test_dialects import DOCUMENTS, STREAMS, WORDS

SECRET = "sk-test-of-dialects"
ALL = (CHAT, COMPLETIONS, RESPONSES, MESSAGES, COUNT_TOKENS, EMBEDDINGS)
"""The others are counted, and pass as they are: see `test_counted.py`."""
EVERYTHING = {"supported_endpoints": [f"/v1{dialect.path}" for dialect in ALL]}
ASKS = {
    "messages": "messages",
    "count_tokens": "messages",
    "responses": "input",
    "completions": "prompt",
    "chat": "messages",
    "embeddings": "input",
}


class Records(Plugin):
    """The record of each request, when it is over."""

    reads_usage = True

    def __init__(self) -> None:
        self.made: list[UsageRecord] = []

    def on_finish(self, exchange: Exchange) -> None:
        self.made.append(record_of(exchange))


class Provider:
    """An ASGI app that answers each path in its wire."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.cut = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await request_body(receive)
        asked = json.loads(body)
        self.asked.append((scope["path"], asked))
        name = next(each.name for each in ALL if scope["path"] == "/v1" + each.path)
        if name == "embeddings":
            told = {"data": [{"embedding": [0.5]}], "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7}}
            answer = json.dumps(told).encode()
        elif name == "count_tokens":
            answer = b'{"input_tokens":7}'
        else:
            answer = STREAMS[name][1] if asked.get("stream") else json.dumps(DOCUMENTS[name][1]).encode()
        kind = b"text/event-stream" if asked.get("stream") else b"application/json"
        if self.cut:
            answer = answer[: answer.index(WORDS.encode()) + len(WORDS) + 60]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def gateway(provider: Provider, **words: Any) -> AsyncIterator[tuple[httpx.AsyncClient, list[UsageRecord]]]:
    records = Records()
    async with serving(provider) as upstream:
        deployment = {"model": "openai/m", "api_base": upstream + "/v1", "api_key": "sk-upstream"}
        app = Gateway(
            model_list=[{"model_name": "served", "litellm_params": deployment, "model_info": EVERYTHING}],
            keys=[{"id": "team", "secret": SECRET}],
            aliases={"fast": "served"},
            plugins=[{"use": records, "before": "Auth"}],
            **words,
        )
        async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
            yield client, records.made


def asking(dialect: Dialect, **more: Any) -> dict[str, Any]:
    more |= {"max_tokens": 100} if dialect is MESSAGES else {}
    given = [{"role": "user", "content": "Hello"}] if ASKS[dialect.name] == "messages" else "Hello"
    return {"model": "fast", ASKS[dialect.name]: given, **more}


STREAMED = [each for each in ALL if each.name in STREAMS]
KEY = {"authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ALL)
async def test_a_request_is_answered_under_the_asked_name_and_recorded(dialect: Dialect, stream: bool) -> None:
    if stream and dialect not in STREAMED:
        return
    provider = Provider()
    async with gateway(provider) as (client, records):
        answer = await client.post("/v1" + dialect.path, headers=KEY, json=asking(dialect, stream=stream))
    assert answer.status_code == 200, answer.text
    assert '"m"' not in answer.text
    assert ('"fast"' in answer.text) is (dialect is not COUNT_TOKENS)
    [(path, asked)] = provider.asked
    assert (path, asked["model"]) == ("/v1" + dialect.path, "m")
    [record] = records
    assert (record.requested_model, record.served_model, record.outcome) == ("fast", "m", "ok")
    assert record.usage is not None
    if dialect is COUNT_TOKENS:
        assert (record.usage, record.usage_source) == (TokenUsage(), "none")
        return
    assert (record.usage.input_tokens, record.usage.output_tokens) == (7, 0 if dialect is EMBEDDINGS else 5)
    assert (record.endpoint, record.usage_source) == (dialect.name, "provider")


@pytest.mark.parametrize("dialect", STREAMED)
async def test_a_cut_stream_is_never_taken_for_a_whole_one(dialect: Dialect) -> None:
    provider = Provider()
    provider.cut = True
    async with gateway(provider) as (client, records):
        answer = await client.post("/v1" + dialect.path, headers=KEY, json=asking(dialect, stream=True))
    events = dialect.splitter().feed(answer.content)
    assert any(event.answer is not None and event.answer.error is not None for event in events)
    [record] = records
    assert record.error_type == "upstream_stream_broken"
    assert record.usage is not None
    assert record.usage.output_tokens > 0


@pytest.mark.parametrize("dialect", ALL)
async def test_without_a_good_key_nobody_comes_in_and_is_told_so_in_his_own_protocol(dialect: Dialect) -> None:
    provider = Provider()
    async with gateway(provider) as (client, _):
        answer = await client.post("/v1" + dialect.path, json=asking(dialect))
        other = await client.post("/V1" + dialect.path, headers=KEY, json=asking(dialect))
    assert answer.status_code == 401
    told = answer.json()
    assert told["error"]["message"]
    assert (told.get("type") == "error") is (dialect.name in ("messages", "count_tokens"))
    assert other.status_code == 404
    assert not provider.asked


@pytest.mark.parametrize("dialect", ALL)
async def test_a_limit_counts_requests_of_every_protocol_together(dialect: Dialect) -> None:
    async with gateway(Provider(), limits={"per_key": {"requests_per_minute": 1}}) as (client, _):
        first = await client.post("/v1/chat/completions", headers=KEY, json=asking(ALL[0]))
        second = await client.post("/v1" + dialect.path, headers=KEY, json=asking(dialect))
    assert (first.status_code, second.status_code) == (200, 429)


@pytest.mark.parametrize("dialect", [CHAT, COMPLETIONS])
async def test_usage_is_asked_for_and_shown_to_who_has_asked(dialect: Dialect) -> None:
    given = {"messages": [{"role": "user", "content": "Hi"}]} if dialect is CHAT else {"prompt": ["Hi", "you"], "n": 2}
    async with FakeProvider() as provider:
        deployment = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream"}
        records = Records()
        app = Gateway(
            model_list=[{"model_name": "served", "litellm_params": deployment}],
            keys=[{"id": "team", "secret": SECRET}],
            plugins=[{"use": records, "before": "Auth"}],
        )
        async with serving(app) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET) as client:
            ask = client.chat.completions if dialect is CHAT else client.completions
            for asked in (False, True):
                options = {"stream_options": {"include_usage": True}} if asked else {}
                chunks = [chunk async for chunk in await ask.create(model="served", stream=True, **given, **options)]
                shown = [chunk.usage for chunk in chunks if chunk.usage is not None]
                assert len(shown) == asked
                assert any(not chunk.choices for chunk in chunks) is asked
                assert provider.last_request.json["stream_options"] == {"include_usage": True}
    assert [record.usage_source for record in records.made] == ["provider", "provider"]
    assert records.made[0].usage == records.made[1].usage
