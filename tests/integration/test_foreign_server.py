"""Servers that know nothing of us: llama.cpp behind the gateway, LitServe with our middleware before it."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from crplugins.homes.gateway.app import Gateway
from tests.foreign_server_setup import (  # noqa: F401
    MODEL,
    LitServe,
    Running,
    llama,
    needs_foreign_servers,
    until,
)

pytestmark = needs_foreign_servers

KEY, LIMITED = "sk-team-a-0123456789", "sk-team-b-0123456789"
KEYS = [
    {"id": "team-a", "secret": KEY, "team": "search"},
    {"id": "team-b", "secret": LIMITED, "limits": {"requests_per_minute": 1}},
]
HELLO: Any = [{"role": "user", "content": "hi"}]
SHORT: Any = {"messages": HELLO, "max_tokens": 12, "temperature": 0}
ENDLESS: Any = {"messages": HELLO, "max_tokens": 16000, "extra_body": {"ignore_eos": True}}
SHOW: Any = {"include_usage": True}


def records(folder: Path, where: str = "1") -> list[tuple[Any, ...]]:
    """Key, names, stream, ending, tokens in, out and cached, and who counted them, in the order of the requests."""
    columns = "key_id, requested_model, served_model, stream, status, outcome, input_tokens, output_tokens"
    with closing(sqlite3.connect(folder / "usage.db")) as books:
        return books.execute(
            f"select {columns}, cached_input_tokens, usage_source from usage where {where} order by started_at"
        ).fetchall()


async def written(folder: Path, number: int = 1, where: str = "1") -> list[tuple[Any, ...]]:
    """The records, once there are that many."""
    rows = records(folder, where)
    return rows if len(rows) == number else []


async def the_record(folder: Path, request_id: str) -> tuple[Any, ...]:
    return (await until(lambda: written(folder, where=f"request_id = '{request_id}'")))[0]


async def collected(stream: Any) -> tuple[str, list[Any], list[Any]]:
    """The text, all chunks, and their usages."""
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return text, chunks, [chunk.usage for chunk in chunks if chunk.usage is not None]


# llama.cpp as the upstream of the gateway.


@pytest.fixture
async def gateway(serve: Any, llama: Running, tmp_path: Path) -> AsyncIterator[SimpleNamespace]:  # noqa: F811
    upstream = {"model": f"openai/{MODEL}", "api_base": f"{llama.url}/v1", "api_key": "none"}
    app = Gateway(
        model_list=[{"model_name": "m", "litellm_params": upstream, "handler": "direct"}],
        keys=KEYS,
        ledger={"url": f"sqlite:///{tmp_path}/usage.db", "commit_seconds": 0},
    )
    async with serve(app) as url:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
            yield SimpleNamespace(client=client, chat=client.chat.completions, folder=tmp_path)


async def test_a_plain_answer_says_what_llama_cpp_said(gateway, llama):  # noqa: F811
    async with llama.client() as direct:
        expected = await direct.chat.completions.create(model=MODEL, **SHORT)
    answer = await gateway.chat.create(model="m", **SHORT)
    assert answer.choices[0].message.content == expected.choices[0].message.content
    assert answer.usage.completion_tokens == expected.usage.completion_tokens
    assert answer.timings["predicted_n"] == answer.usage.completion_tokens


async def test_a_stream_shows_usage_to_who_asks_and_nothing_of_it_to_others(gateway, llama):  # noqa: F811
    async with llama.client() as direct:
        expected = await collected(await direct.chat.completions.create(model=MODEL, stream=True, **SHORT))
    text, chunks, usages = await collected(await gateway.chat.create(model="m", stream=True, **SHORT))
    assert (text, usages) == (expected[0], [])
    assert all(chunk.choices for chunk in chunks)
    assert len(chunks) == len(expected[1])
    asking = await gateway.chat.create(model="m", stream=True, stream_options=SHOW, **SHORT)
    text, chunks, usages = await collected(asking)
    assert text == expected[0]
    assert [usage.completion_tokens for usage in usages] == [SHORT["max_tokens"]]
    assert chunks[-1].choices == []


async def test_the_ledger_counts_what_llama_cpp_counts(gateway, llama):  # noqa: F811
    before = await llama.samples()
    for number in range(6):
        asked = {**SHORT, "max_tokens": number + 2, "messages": [{"role": "user", "content": "word " * number}]}
        answer = await gateway.chat.create(model="m", stream=number % 2 == 1, **asked)
        if number % 2:
            await collected(answer)
    rows = await until(lambda: written(gateway.folder, 6))
    after = await llama.samples()
    kinds = ("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")
    read, cached, said = (after[f"llamacpp:{kind}"] - before[f"llamacpp:{kind}"] for kind in kinds)
    assert [sum(row[column] for row in rows) for column in (6, 7, 8)] == [read + cached, said, cached]
    assert cached > 0
    assert {row[:6] + row[9:] for row in rows} == {
        ("team-a", "m", MODEL, stream, 200, "ok", "provider") for stream in (0, 1)
    }


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_the_work_of_llama_cpp(gateway, llama, stream):  # noqa: F811
    asking = asyncio.ensure_future(gateway.chat.create(model="m", stream=stream, **ENDLESS))
    if stream:
        answer = await asking
        await anext(answer)
        await answer.close()
    else:
        await until(lambda: is_busy(llama))
        asking.cancel()
    # It looks for its client after a second without news, and being asked for metrics is news.
    await until(lambda: is_idle(llama), every=1.2)
    row = (await until(lambda: written(gateway.folder)))[0]
    assert row[3:6] == (int(stream), 200 if stream else 499, "cancelled")
    assert (row[7] < ENDLESS["max_tokens"], row[9]) == (True, "estimated")


async def is_busy(engine: Running) -> bool:
    return (await engine.samples())["llamacpp:requests_processing"] > 0


async def is_idle(engine: Running) -> bool:
    return not await is_busy(engine)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_of_llama_cpp_is_the_clients_and_has_openais_shape(gateway, stream):
    asked = {**SHORT, "messages": [{"role": "user", "content": "x" * 20_000}]}
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size") as refused:
        await gateway.chat.create(model="m", stream=stream, **asked)
    assert {"message", "type", "param", "code"} <= refused.value.body.keys()
    row = await the_record(gateway.folder, refused.value.request_id)
    assert row[4:] == (400, "client_error", 0, 0, 0, "none")


# LitServe with our middleware before it, as its own users add some.


@pytest.fixture(scope="module")
def hosts(llama: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:  # noqa: F811
    """LitServe behind everything a file says, and behind named middlewares. They start side by side."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("file", "named")}
    ledger = {name: {"url": f"sqlite:///{folder}/usage.db", "commit_seconds": 0} for name, folder in folders.items()}
    config = {"keys": KEYS, "aliases": {"fast": MODEL}, "ledger": ledger["file"], "metrics": {"token": None}}
    named = {
        "StreamUsage": {},
        "RateLimit": {},
        "ModelAlias": {"aliases": {"fast": MODEL}},
        "Usage": {"ledger": ledger["named"]},
        "Auth": {"keys": KEYS, "public_paths": ["/health", "/crplugins/metrics"]},
        "Metrics": {"metrics": {"path": "/crplugins/metrics", "token": None}},
    }
    words = [f"crplugins.{name}Middleware={json.dumps(keywords)}" for name, keywords in named.items()]
    started = {
        "file": LitServe(folders["file"], llama, "crplugins.homes.vllm.Middleware", config=config),
        "named": LitServe(folders["named"], llama, *words),
    }
    try:
        yield {name: host.wait_until_it_answers() for name, host in started.items()}
    finally:
        for host in started.values():
            host.end()


@pytest.fixture(params=["file", "named"])
def host(hosts: dict[str, Running], request: pytest.FixtureRequest) -> Running:
    return hosts[request.param]


async def test_without_a_key_nobody_asks_litserve(host):
    async with host.client("sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model="fast", **SHORT)
        assert refused.value.body["code"] == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
    assert await host.get("/health") == "ok"


async def test_plain_answers_and_streams_of_litserve_pass_and_are_counted_as_it_says(host):
    async with host.client(KEY) as client:
        plain = await client.chat.completions.with_raw_response.create(model="fast", **SHORT)
        answer = plain.parse()
        assert (answer.model, answer.choices[0].finish_reason) == ("fast", "stop")
        counted = answer.usage.prompt_tokens, answer.usage.completion_tokens
        assert counted[1] == SHORT["max_tokens"]
        hidden = await client.chat.completions.with_raw_response.create(model="fast", stream=True, **SHORT)
        text, chunks, usages = await collected(hidden.parse())
        assert (text, usages) == (answer.choices[0].message.content, [])
        assert {chunk.model for chunk in chunks} == {"fast"}
        shown = await client.chat.completions.create(model="fast", stream=True, stream_options=SHOW, **SHORT)
        text, chunks, usages = await collected(shown)
        assert text == answer.choices[0].message.content
        assert [(usage.prompt_tokens, usage.completion_tokens) for usage in usages] == [counted]
    for stream, response in enumerate((plain, hidden)):
        row = await the_record(host.folder, response.headers["x-request-id"])
        assert row == ("team-a", "fast", MODEL, stream, 200, "ok", *counted, 0, "provider")


async def test_a_limit_is_kept_before_litserve_and_its_own_refusals_pass(host):
    async with host.client(LIMITED) as client:
        with pytest.raises(openai.UnprocessableEntityError) as invalid:
            await client.chat.completions.create(model="fast", messages="hi")
        assert invalid.value.body["detail"][0]["type"] == "list_type"
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="fast", **SHORT)
        assert limited.value.body["code"] == "rate_limit_exceeded"
    assert (await the_record(host.folder, limited.value.request_id))[4:6] == (429, "limited")


async def test_the_metrics_page_of_each_agrees_with_its_ledger(host):
    async with host.client(KEY) as client:
        await client.chat.completions.create(model="fast", **SHORT)

    async def agreed() -> bool:
        samples = await host.samples("/crplugins/metrics")
        read = samples.get('crplugins_input_tokens_total{key_id="team-a",model="fast"}', 0)
        written = samples.get('crplugins_output_tokens_total{key_id="team-a",model="fast"}', 0)
        rows = records(host.folder, "key_id = 'team-a'")
        return read > 0 and (read, written) == (sum(row[6] for row in rows), sum(row[7] for row in rows))

    assert await until(agreed)


async def test_a_client_that_leaves_litserve_in_mid_stream_is_recorded_so(host):
    async with host.client(KEY) as client:
        asked = {**SHORT, "max_tokens": 4000}  # more than its connection holds, so that it waits for its client
        stream = await client.chat.completions.create(model="fast", stream=True, **asked)
        async for _ in stream:
            break
        await stream.close()
    row = await the_record(host.folder, stream.response.headers["x-request-id"])
    assert row[3:6] == (1, 200, "cancelled")
