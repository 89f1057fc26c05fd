"""Embeddings through litellm, from providers with wires of their own."""

import base64
import json
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest

from crplugins import Gateway, Usage, UsageRecord
from tests.conftest import serving

pytestmark = pytest.mark.filterwarnings("ignore:::litellm", "ignore:::pydantic")
SECRET = "sk-embeddings-0123456789"
VECTOR = [0.5, -0.25, 0.125]

COHERE = {
    "id": "x",
    "embeddings": {"float": [VECTOR, VECTOR]},
    "texts": ["a", "b"],
    "meta": {"billed_units": {"input_tokens": 7}},
}
UNCOUNTED = {**COHERE, "meta": {}}
GEMINI = {"embeddings": [{"values": VECTOR}, {"values": VECTOR}], "usageMetadata": {"promptTokenCount": 7}}
OPENAI = {
    "object": "list", "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7},
    "data": [{"object": "embedding", "index": 1, "embedding": VECTOR}, {"object": "embedding", "index": 0, "embedding": [1.0]}],
}  # fmt: skip


class Provider:
    def __init__(self, answer: Any, status: int = 200) -> None:
        self.answer = answer
        self.status = status
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.asked.append(json.loads(body))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(self.answer).encode()})


@asynccontextmanager
async def gateway(provider: Provider, model: str, **entry: Any) -> AsyncIterator[tuple[str, list[UsageRecord]]]:
    records: list[UsageRecord] = []
    async with serving(provider) as url:
        params = {"model": model, "api_base": url, "api_key": "sk-upstream-0123456789", "temperature": 0.5}
        app = Gateway(
            model_list=[{"model_name": "e", "handler": "litellm", "litellm_params": params, **entry}],
            keys=[{"id": "team", "secret": SECRET}],
            plugins=[{"use": Usage(sinks=[records.append]), "before": "Auth"}],
            num_retries=0,
        )
        async with serving(app) as address:
            yield address, records


async def ask(url: str, **fields: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        body = {"model": "e", "input": ["a", "b"], **fields}
        return await client.post("/v1/embeddings", json=body, headers={"authorization": f"Bearer {SECRET}"})


@pytest.mark.parametrize(
    ("model", "answer"),
    [("cohere/embed-english-v3.0", COHERE), ("gemini/gemini-embedding-001", GEMINI), ("openai/m", OPENAI)],
)
async def test_vectors_of_every_wire_are_openais(model: str, answer: Any) -> None:
    provider = Provider(answer)
    async with gateway(provider, model) as (url, records):
        told = (await ask(url)).json()
        async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=SECRET, max_retries=0) as sdk:
            read = await sdk.embeddings.create(model="e", input=["a", "b"])  # which asks for base64
    assert (told["object"], told["model"], told["usage"]) == ("list", "e", {"prompt_tokens": 7, "total_tokens": 7})
    assert [each["index"] for each in told["data"]] == [0, 1]
    assert told["data"][1]["embedding"] == VECTOR
    assert read.data[1].embedding == VECTOR
    assert not any("temperature" in asked for asked in provider.asked)
    assert [(each.usage.input_tokens, each.usage.output_tokens, each.usage_source) for each in records if each.usage] == [
        (7, 0, "provider"), (7, 0, "provider"),
    ]  # fmt: skip


async def test_a_vector_in_base64_is_of_32_bit_numbers() -> None:
    async with gateway(Provider(COHERE), "cohere/embed-english-v3.0") as (url, _):
        told = (await ask(url, encoding_format="base64")).json()
    assert array("f", base64.b64decode(told["data"][0]["embedding"])).tolist() == VECTOR


async def test_an_estimate_of_litellms_is_not_taken_for_a_count() -> None:
    async with gateway(Provider(UNCOUNTED), "cohere/embed-english-v3.0") as (url, [*_]):
        told = (await ask(url)).json()
    assert "usage" not in told or told["usage"] is None


async def test_a_refusal_is_the_providers_without_its_secrets() -> None:
    provider = Provider({"message": "invalid: sk-upstream-0123456789 is no input"}, 400)
    async with gateway(provider, "cohere/embed-english-v3.0") as (url, records):
        answer = await ask(url)
    assert answer.status_code == 400
    assert "invalid" in answer.text
    assert "sk-upstream" not in answer.text
    assert records[0].error_type == "upstream_4xx"


async def test_an_answer_without_vectors_is_malformed() -> None:
    async with gateway(Provider({"embeddings": {}}), "cohere/embed-english-v3.0") as (url, records):
        answer = await ask(url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_malformed")
    assert records[0].outcome == "server_error"


async def test_a_request_without_an_input_is_refused_by_name() -> None:
    async with gateway(Provider(COHERE), "cohere/embed-english-v3.0") as (url, _):
        answer = await ask(url, input=None)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")


@pytest.mark.parametrize("tokens", [[1] * 300_001, [[1] * 150_001] * 2])
async def test_more_tokens_than_openai_takes_are_refused_before_litellm_looks_at_each(tokens: list[Any]) -> None:
    provider = Provider(OPENAI)
    async with gateway(provider, "openai/m") as (url, _):
        answer = await ask(url, input=tokens)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "max_tokens_per_request")
    assert provider.asked == []


@pytest.mark.parametrize("model", ["openai/qwen3-embedding", "hosted_vllm/qwen3-embedding", "azure/vectors"])
async def test_how_long_vectors_are_to_be_reaches_a_model_of_any_name(model: str) -> None:
    provider = Provider(OPENAI)
    async with gateway(provider, model) as (url, _):
        answer = await ask(url, dimensions=256)
    assert (answer.status_code, provider.asked[0]["dimensions"]) == (200, 256)
    assert "allowed_openai_params" not in provider.asked[0]


async def test_a_parameter_that_a_provider_does_not_have_is_named() -> None:
    provider = Provider(OPENAI)
    async with gateway(provider, "mistral/mistral-embed") as (url, _):
        answer = await ask(url, dimensions=256)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "dimensions")
    assert not provider.asked
