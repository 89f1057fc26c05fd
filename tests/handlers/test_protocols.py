"""In which protocols a deployment is asked as it is, in which by way of chat completions, and in which not at all."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from crplugins import Gateway, Usage, UsageRecord
from crplugins.core.dialects import (
    ALL,
    CHAT,
    COMPACT,
    COMPLETIONS,
    COUNT_TOKENS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    Dialect,
)
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.protocols import CLAUDES, MISTRALS, Target, protocols_in, protocols_of, target_of
from crplugins.handlers.upstream import Upstream
from tests.conftest import serving
from tests.core.test_dialects import DOCUMENTS, WORDS

SECRET = "sk-of-protocols-0123456789"
KEY = {"authorization": f"Bearer {SECRET}"}
EVERY: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50},
    "count_tokens": {"messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"input": "Hi"},
    "completions": {"prompt": "Hi"},
    "embeddings": {"input": "Hi"},
}


class Provider:
    """Answers on some paths in their wires; on the others there is nothing."""

    def __init__(self, *spoken: Dialect, status: int = 404) -> None:
        self._spoken = {"/v1" + dialect.path: dialect for dialect in spoken}
        self._status = status
        self.asked: list[str] = []
        self.broken = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.asked.append(scope["path"])
        dialect = self._spoken.get(scope["path"])
        status, answer = self._status, {"detail": "Not Found"}
        if self.broken:
            status = 503
        elif dialect is not None:
            vectors = {"data": [{"embedding": [0.5]}], "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7}}
            status, answer = 200, vectors if dialect is EMBEDDINGS else DOCUMENTS[dialect.name][1]
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@asynccontextmanager
async def gateway(
    *upstreams: tuple[Provider, dict[str, Any]], **words: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, list[UsageRecord]]]:
    """A gateway with one name and these deployments of it; each has what stands beside `litellm_params`."""
    records: list[UsageRecord] = []
    async with serving(upstreams[0][0]) as first, serving(upstreams[-1][0]) as last:
        models = []
        for address, (_, entry) in zip((first, last), upstreams, strict=False):
            params = {"model": "openai/m", "api_base": address + "/v1", "api_key": "sk-upstream"}
            models.append({"model_name": "served", "litellm_params": params, "num_retries": 0, **entry})
        app = Gateway(
            model_list=models,
            keys=[{"id": "team", "secret": SECRET}],
            plugins=[{"use": Usage(sinks=[records.append]), "before": "Auth"}],
            **words,
        )
        async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=60, headers=KEY) as client:
            yield client, records


async def ask(client: httpx.AsyncClient, dialect: Dialect, model: str = "served") -> httpx.Response:
    return await client.post("/v1" + dialect.path, json={"model": model, **EVERY[dialect.name]})


def only(*paths: str) -> dict[str, Any]:
    return {"model_info": {"supported_endpoints": list(paths)}}


@pytest.mark.parametrize(
    ("info", "spoken"),
    [
        ({}, None),
        ({"mode": "chat"}, {CHAT, COMPLETIONS, RESPONSES, COMPACT, MESSAGES, COUNT_TOKENS}),
        ({"mode": "responses"}, {RESPONSES, COMPACT}),
        ({"mode": "embedding"}, {EMBEDDINGS}),
        ({"mode": "video_generation"}, None),
        ({"supported_endpoints": ["/v1/chat/completions", "/v1/batch"]}, {CHAT}),
        ({"mode": "chat", "supported_endpoints": ["/v1/messages", "/v1/responses"]}, {MESSAGES, RESPONSES}),
        ({"supported_endpoints": ["/v1/ocr"]}, None),
        ({"supported_endpoints": "/v1/messages", "mode": 7}, None),
        ({"supported_endpoints": [None, 3]}, None),
    ],
)
def test_litellms_words_say_what_a_model_speaks(info: dict[str, Any], spoken: set[Dialect] | None) -> None:
    assert protocols_in(info) == spoken


def test_a_wire_has_what_its_servers_may_have() -> None:
    deployment, upstream = Deployment("m", "openai/m"), Upstream("openai", "m", "http://h/v1")
    anthropic = Upstream("anthropic", "m", "http://h/v1")
    assert protocols_of(deployment, upstream) == set(ALL)
    at_openai = Upstream("openai", "m", "https://api.openai.com/v1")
    assert protocols_of(deployment, at_openai) == set(ALL) - {MESSAGES, COUNT_TOKENS}
    assert protocols_of(Deployment("m", "anthropic/claude-4"), anthropic) == {CHAT, MESSAGES, COUNT_TOKENS}
    assert protocols_of(Deployment("m", "anthropic/claude-4"), None) == {CHAT, EMBEDDINGS}
    assert protocols_of(Deployment("m", "anthropic/claude-4"), None, anthropic) == {
        CHAT,
        EMBEDDINGS,
        MESSAGES,
        COUNT_TOKENS,
    }
    assert protocols_of(Deployment("m", "openai/m", protocols=frozenset({CHAT, MESSAGES})), at_openai) == {CHAT}
    assert protocols_of(Deployment("m", "anthropic/c", protocols=frozenset({RESPONSES})), None) == {CHAT}
    assert protocols_of(Deployment("m", "demo/echo"), None) == set(ALL)


@pytest.mark.parametrize(
    ("model", "base", "target"),
    [
        ("openai/gpt-4o", "https://api.openai.com/v1", Target(is_openai=True)),
        ("openai/o3-mini", "https://eu.api.openai.com/v1", Target(is_openai=True, reasons=True)),
        ("openai/gpt-5-mini", "https://name.openai.azure.com/openai/v1", Target(is_openai=True, reasons=True)),
        ("openai/llama", "https://api.openai.com.evil.example/v1", Target()),
        ("anthropic/claude-3-5-sonnet", None, Target(is_claude=True, own_ids=CLAUDES)),
        ("mistral/mistral-large-latest", None, Target(own_ids=MISTRALS)),
        ("bedrock/eu.anthropic.claude-sonnet-4-5-v1:0", None, Target(is_claude=True, reasons=True)),
        ("gemini/gemini-2.5-flash", None, Target(reasons=True)),
        ("hosted_vllm/qwen", "http://127.0.0.1:8000/v1", Target(is_vllm=True)),
        ("hosted_vllm/qwen", None, Target()),
    ],
)
def test_what_a_target_takes_is_known_by_where_it_is_and_what_it_is_called(
    model: str, base: str | None, target: Target
) -> None:
    provider, _, name = model.partition("/")
    deployment = Deployment("m", model, provider=provider)
    assert target_of(deployment, None if base is None else Upstream(provider, name, base)) == target


async def test_one_that_speaks_the_protocol_is_asked_before_those_that_do_not() -> None:
    chats, speaks = Provider(CHAT), Provider(CHAT, RESPONSES)
    other = {**only("/v1/chat/completions"), "order": 1}
    native = {**only("/v1/chat/completions", "/v1/responses"), "order": 2}
    async with gateway((chats, other), (speaks, native)) as (client, records):
        for _ in range(3):
            answer = await ask(client, RESPONSES)
            assert answer.json()["output"][0]["content"][0]["text"] == WORDS
        assert (chats.asked, speaks.asked) == ([], ["/v1/responses"] * 3)
        speaks.broken = True
        answer = await ask(client, RESPONSES)
        assert answer.json()["output"][0]["content"][0]["text"] == WORDS
        assert chats.asked == ["/v1/chat/completions"]
        await ask(client, CHAT)
        assert chats.asked == ["/v1/chat/completions"] * 2  # in chat completions the order decides
    assert [record.outcome for record in records] == ["ok"] * 5
    assert {(record.usage.input_tokens, record.usage.output_tokens) for record in records if record.usage} == {(7, 5)}


@pytest.mark.parametrize("dialect", [RESPONSES, COMPLETIONS, MESSAGES])
@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_protocol_that_is_not_there_is_asked_for_once(dialect: Dialect, status: int) -> None:
    provider = Provider(CHAT, status=status)
    async with gateway((provider, {}), cooldown_time=30) as (client, records):
        for _ in range(3):
            answer = await ask(client, dialect)
            assert answer.status_code == 200, answer.text
            assert WORDS in answer.text
    assert provider.asked == ["/v1" + dialect.path, *["/v1/chat/completions"] * 3]
    assert [record.attempts for record in records] == [2, 1, 1]


async def test_a_model_that_is_not_there_is_no_missing_protocol() -> None:
    provider = Provider()
    async with gateway((provider, {})) as (client, _):
        for _ in range(2):
            assert (await ask(client, RESPONSES)).status_code == 404
    assert provider.asked == ["/v1/responses", "/v1/chat/completions"] * 2


@pytest.mark.parametrize(
    ("entry", "dialect"),
    [
        (only("/v1/chat/completions"), EMBEDDINGS),
        ({"model_info": {"mode": "chat"}}, EMBEDDINGS),
        ({"model_info": {"mode": "embedding"}}, CHAT),
        ({"model_info": {"mode": "embedding"}}, MESSAGES),
        (only("/v1/responses"), CHAT),
        (only("/v1/chat/completions"), COUNT_TOKENS),
    ],
)
async def test_what_no_deployment_can_answer_is_not_found(entry: dict[str, Any], dialect: Dialect) -> None:
    provider = Provider(*ALL)
    async with gateway((provider, entry)) as (client, [*_]):
        answer = await ask(client, dialect)
    assert answer.status_code == 404
    told = answer.json()["error"]
    assert told["message"] == f"The model `served` is not supported in the v1{dialect.path} endpoint."
    assert told.get("code", "model_not_supported_in_endpoint") == "model_not_supported_in_endpoint"
    assert provider.asked == []


async def test_a_fallback_answers_what_the_name_cannot() -> None:
    chats, embeds = Provider(CHAT), Provider(EMBEDDINGS)
    second = {"model_name": "vectors", "model_info": {"mode": "embedding"}}
    async with gateway(
        (chats, {"model_info": {"mode": "chat"}}), (embeds, second), fallbacks=[{"served": ["vectors"]}]
    ) as (client, records):
        answer = await ask(client, EMBEDDINGS)
    assert answer.json()["data"][0]["embedding"] == [0.5]
    assert (chats.asked, embeds.asked) == ([], ["/v1/embeddings"])
    assert records[0].served_model == "m"


@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES, COMPLETIONS])
async def test_quotas_and_cooldowns_of_a_deployment_hold_in_every_protocol(dialect: Dialect) -> None:
    provider = Provider(CHAT)
    entry = {**only("/v1/chat/completions"), "rpm": 1}
    async with gateway((provider, entry)) as (client, _):
        statuses: Sequence[int] = [(await ask(client, dialect)).status_code, (await ask(client, CHAT)).status_code]
    assert statuses == [200, 429]
