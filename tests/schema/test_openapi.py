"""The published description: the OpenAPI document, and that real requests and answers fit it."""

import subprocess
import sys
from typing import get_type_hints

import aiohttp
import jsonschema
import msgspec
import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from crplugins.core.errors import GatewayError
from crplugins.schema import ChatCompletionRequest, openapi_document
from crplugins.testing import FakeProvider
from tests.schema.samples import EVERYTHING

SEED_PAGE = (
    "model messages temperature top_p n stream stream_options stop max_tokens presence_penalty frequency_penalty "
    "logprobs top_logprobs response_format seed tools tool_choice user"
).split()

# OpenAI's documented answers, shortened.
ANSWER = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952,
    "model": "gpt-5.4", "service_tier": "default",
    "choices": [{"index": 0, "logprobs": None, "finish_reason": "stop", "message": {
        "role": "assistant", "content": "Hello!", "refusal": None, "annotations": []}}],
    "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
              "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                                            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}},
}  # fmt: skip
MESSAGE = ANSWER["choices"][0]["message"]
CALL = {"id": "call_abc", "type": "function", "function": {"name": "get_current_weather", "arguments": "{\n}"}}
TOOLS = [{"index": 0, "logprobs": None, "finish_reason": "tool_calls",
          "message": MESSAGE | {"content": None, "tool_calls": [CALL]}}]  # fmt: skip
HELLO = {"token": "Hello", "logprob": -0.31725305, "bytes": [72, 101, 108, 108, 111]}
LOGPROBS = [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": {
    "content": [HELLO | {"top_logprobs": [HELLO, HELLO | {"bytes": None}]}], "refusal": None}}]  # fmt: skip
CHUNK = {
    "id": "chatcmpl-123", "object": "chat.completion.chunk", "created": 1694268190, "model": "gpt-4o-mini",
    "system_fingerprint": "fp_44709d6fcb", "obfuscation": "yBUv8b",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}],
}  # fmt: skip
SAMPLES = [
    ("ChatCompletion", ANSWER),
    ("ChatCompletion", ANSWER | {"choices": TOOLS}),
    ("ChatCompletion", ANSWER | {"choices": LOGPROBS}),
    ("ChatCompletionChunk", CHUNK),
    ("ChatCompletionChunk", CHUNK | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ("ChatCompletionChunk", CHUNK | {"choices": [], "usage": ANSWER["usage"]}),
    ("Model", {"id": "gpt-5.4", "object": "model", "created": 1686935002, "owned_by": "openai"}),
    ("ModelList", {"object": "list", "data": []}),
    ("ErrorBody", msgspec.json.decode(GatewayError(400, "no", param="n").body())),
]


@pytest.fixture(scope="module")
def document() -> dict:
    return openapi_document(title="crplugins", version="1")


def validator(document: dict, name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


def test_the_parameters_everybody_uses_stand_first():
    assert list(ChatCompletionRequest.model_fields)[:18] == SEED_PAGE


def test_no_parameter_of_the_official_sdk_is_missing():
    theirs = get_type_hints(CompletionCreateParamsNonStreaming) | get_type_hints(CompletionCreateParamsStreaming)
    assert theirs.keys() <= ChatCompletionRequest.model_fields.keys()


def test_every_parameter_is_described(document):
    properties = document["components"]["schemas"]["ChatCompletionRequest"]["properties"]
    assert [name for name, schema in properties.items() if not schema.get("description")] == []


def test_every_path_has_its_statuses_and_a_request_id(document):
    responses = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "404", "405", "413", "415", "429", "500", "502", "503", "504"}
    assert all("x-request-id" in response["headers"] for response in responses.values())
    assert set(responses["200"]["content"]) == {"application/json", "text/event-stream"}
    assert set(document["paths"]) == {
        "/v1/chat/completions", "/v1/models", "/v1/models/{model}", "/healthz", "/readyz", "/openapi.json"
    }  # fmt: skip


def test_only_the_public_paths_need_no_key(document):
    operations = {path: operation for path, methods in document["paths"].items() for operation in methods.values()}
    public = {path for path, operation in operations.items() if operation.get("security") == []}
    assert public == {"/healthz", "/readyz", "/openapi.json"}
    assert document["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}


def test_every_schema_is_one_and_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema.get("additionalProperties", True) is True
    text = msgspec.json.encode(document).decode()
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= schemas.keys()


def test_address_and_model_names_are_shown_if_given():
    document = openapi_document(title="t", version="1", server_url="https://llm.example.com", models=["fast", "slow"])
    assert document["servers"] == [{"url": "https://llm.example.com"}]
    request = document["components"]["schemas"]["ChatCompletionRequest"]
    assert request["properties"]["model"]["examples"] == ["fast", "slow"]
    assert document["paths"]["/v1/models/{model}"]["get"]["parameters"][0]["schema"]["examples"] == ["fast", "slow"]
    assert "servers" not in openapi_document(title="t", version="1")


@pytest.mark.parametrize(("name", "sample"), SAMPLES)
def test_a_documented_answer_of_openai_fits(document, name, sample):
    validator(document, name).validate(sample)


@pytest.mark.parametrize("key", ["refusal", "content", "role"])
def test_an_answer_without_a_required_key_does_not_fit(document, key):
    message = {name: value for name, value in MESSAGE.items() if name != key}
    choices = [ANSWER["choices"][0] | {"message": message}]
    assert not validator(document, "ChatCompletion").is_valid(ANSWER | {"choices": choices})


def test_recorded_streams_of_openai_fit(document, cassettes):
    fits = validator(document, "ChatCompletionChunk")
    for cassette in (c for name, c in cassettes.items() if name.startswith("openai-")):
        for line in cassette.data.splitlines():
            if line.startswith(b"data: {"):
                fits.validate(msgspec.json.decode(line[6:]))


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_in_openais_form_fit(document, stream):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream, "n": 2, "logprobs": True}
    bodies = [body, body | {"tools": [tool], "tool_choice": "required"}]
    if stream:
        bodies.append(body | {"stream_options": {"include_usage": True}})
    async with FakeProvider() as provider, aiohttp.ClientSession() as session:
        for body in bodies:
            async with session.post(provider.base_url + "/chat/completions", json=body) as response:
                text = await response.read()
            chunks = [line[6:] for line in text.splitlines() if line.startswith(b"data: {")]
            for data in chunks if stream else [text]:
                name = "ChatCompletionChunk" if stream else "ChatCompletion"
                validator(document, name).validate(msgspec.json.decode(data))


def test_a_request_with_every_parameter_fits(document):
    validator(document, "ChatCompletionRequest").validate(EVERYTHING)


def test_the_guard_does_without_pydantic():
    code = "import sys, crplugins.plugins.guard.plugin; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
