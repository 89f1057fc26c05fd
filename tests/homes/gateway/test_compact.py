"""Codex has a long conversation made short (`/v1/responses/compact`): OpenAI's SDK in front of the own gateway."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types.responses import CompactedResponse

from crplugins import Gateway, Usage, UsageRecord
from crplugins.core.dialects import COMPACT
from crplugins.core.usage import TokenUsage
from tests.asgi_body import request_body
from tests.conftest import serving

SECRETS = {"team": "sk-of-the-team-0123456789", "other": "sk-of-the-other-0123456789"}
ITEM = {"id": "cmp_1", "type": "compaction", "encrypted_content": "gAAA"}
COMPACTED: dict[str, Any] = {
    "id": "resp_c1", "object": "response.compaction", "created_at": 5,
    "output": [{"id": "msg_1", "type": "message", "status": "completed", "role": "user", "content": []}, ITEM],
    "usage": {
        "input_tokens": 700, "input_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 0}, "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 750,
    },
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": "resp_up_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [],
    "usage": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12},
}  # fmt: skip
PRICES = {"input_cost_per_token": 1e-6, "cache_read_input_token_cost": 1e-7, "output_cost_per_token": 1e-5}


class Provider:
    """Answers Responses and, if it has it, compaction; in chat completions with a refusal."""

    def __init__(self, *, compacts: bool = True) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._compacts = compacts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = await request_body(receive)
        path = scope["path"].removeprefix("/v1")
        self.asked.append((path, json.loads(body)))
        known = {"/responses": RESPONSE} | ({"/responses/compact": COMPACTED} if self._compacts else {})
        status, answer = (200, known[path]) if path in known else (404, {"detail": "Not Found"})
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


@asynccontextmanager
async def gateway(
    provider: Provider, info: dict[str, Any] | None = None, **words: Any
) -> AsyncIterator[tuple[openai.AsyncOpenAI, list[UsageRecord]]]:
    records: list[UsageRecord] = []
    async with serving(provider) as upstream:
        at = {"model": "openai/m", "api_base": f"{upstream}/v1", "api_key": "sk-upstream-0123456789abcdef"}
        app = Gateway(
            model_list=[{"model_name": "codex", "litellm_params": at, "model_info": info or PRICES, "num_retries": 0}],
            keys=[{"id": name, "secret": secret} for name, secret in SECRETS.items()],
            aliases={"fast": "codex"},
            plugins=[{"use": Usage(sinks=[records.append]), "before": "Auth"}],
            **words,
        )
        async with (
            serving(app) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRETS["team"], max_retries=0) as sdk,
        ):
            yield sdk, records


async def test_a_conversation_is_made_short_by_its_provider_and_charged() -> None:
    provider = Provider()
    async with gateway(provider) as (sdk, records):
        made = await sdk.responses.compact(model="fast", input=[{"role": "user", "content": "Hi"}], instructions="Be")
    assert isinstance(made, CompactedResponse)
    assert made.output[1].model_dump(exclude_none=True) == ITEM
    said = {"model": "m", "input": [{"role": "user", "content": "Hi"}], "instructions": "Be"}
    assert provider.asked == [("/responses/compact", said)]
    [record] = records
    counts = TokenUsage(input_tokens=700, output_tokens=50, cached_input_tokens=500, reasoning_output_tokens=20)
    assert (record.endpoint, record.outcome, record.usage_source) == ("compact", "ok", "provider")
    assert (record.usage, record.cost_micro_usd) == (counts, 200 + 50 + 500)


async def test_the_response_that_is_made_short_is_that_of_the_key() -> None:
    provider = Provider()
    async with gateway(provider) as (sdk, _):
        first = await sdk.responses.create(model="codex", input="Hi")
        await sdk.responses.compact(model="codex", previous_response_id=first.id)
        assert provider.asked[-1] == ("/responses/compact", {"model": "m", "previous_response_id": "resp_up_1"})
        for given, secret in ((first.id, "other"), ("resp_up_1", "team")):
            with pytest.raises(openai.BadRequestError) as refused:
                await sdk.with_options(api_key=SECRETS[secret]).responses.compact(
                    model="codex", previous_response_id=given
                )
            assert refused.value.code == "previous_response_not_found"
    assert len(provider.asked) == 2


@pytest.mark.parametrize("info", [None, {"supported_endpoints": ["/v1/chat/completions"]}, {"mode": "embedding"}])
async def test_where_no_deployment_can_it_is_not_found_and_no_model_is_asked_in_its_place(
    info: dict[str, Any] | None,
) -> None:
    provider = Provider(compacts=False)
    async with gateway(provider, info) as (sdk, records):
        with pytest.raises(openai.NotFoundError) as refused:
            await sdk.responses.compact(model="codex", input="Hi")
    assert refused.value.code == "model_not_supported_in_endpoint"
    assert [path for path, _ in provider.asked] == (["/responses/compact"] if info is None else [])
    assert records[0].outcome == "client_error"


async def test_limits_and_the_list_of_endpoints_hold() -> None:
    async with gateway(Provider(), limits={"per_key": {"tokens_per_minute": 800}}) as (sdk, _):
        await sdk.responses.compact(model="codex", input="Hi")
        with pytest.raises(openai.RateLimitError):
            await sdk.responses.compact(model="codex", input="word " * 400)
    provider = Provider()
    async with gateway(provider, server={"endpoints": ["responses"]}) as (sdk, _):
        with pytest.raises(openai.NotFoundError):
            await sdk.responses.compact(model="codex", input="Hi")
    assert provider.asked == []


async def test_what_else_openai_has_there_is_an_unknown_path_and_no_id() -> None:
    provider = Provider()
    async with gateway(provider) as (sdk, _):
        with pytest.raises(openai.NotFoundError) as refused:
            await sdk.responses.input_tokens.count(model="codex", input="Hi")
    assert "Invalid URL (POST /v1/responses/input_tokens)" in refused.value.message
    assert provider.asked == []


async def test_the_demo_model_does_it_too() -> None:
    app = Gateway(
        model_list=[{"model_name": "demo", "litellm_params": {"model": "demo/echo"}}],
        keys=[{"id": "team", "secret": SECRETS["team"]}],
    )
    async with (
        serving(app) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRETS["team"], max_retries=0) as sdk,
    ):
        made = await sdk.responses.compact(model="demo", input="Hi there")
    assert made.output[0].type == "compaction"
    CompactedResponse.model_validate(made.model_dump())


def test_what_is_no_compaction_is_no_answer() -> None:
    for data in (b"{}", b'{"error": {"message": "no"}}', b'{"detail": "Not Found"}', b"[]", b'"x"'):
        answer = COMPACT.document(data).answer
        assert answer is None or not answer.choices or answer.error is not None
    assert COMPACT.document(b"<html>").answer is None
