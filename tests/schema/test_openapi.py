"""The published description, and that it says what RequestGuard does."""

import typing

import jsonschema
import msgspec
import pytest
from openai.types.chat import completion_create_params
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.plugins.guard_parameters import PARAMETERS
from crplugins.schema import ChatCompletionRequest, openapi_document
from crplugins.testing import FakeProvider

SEED_PAGE = (
    "model messages temperature top_p n stream stream_options stop max_tokens presence_penalty frequency_penalty "
    "logprobs top_logprobs response_format seed tools tool_choice user"
).split()


@pytest.fixture(scope="module")
def document() -> dict:
    return openapi_document(title="crplugins", version="1")


def validator(document: dict, name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


def test_the_parameters_everybody_uses_stand_first():
    assert list(ChatCompletionRequest.model_fields)[:18] == SEED_PAGE


def test_the_description_and_the_guard_know_the_same_parameters():
    assert set(ChatCompletionRequest.model_fields) == {"model", "messages", *PARAMETERS}


def test_no_parameter_of_the_official_sdk_is_missing():
    theirs = typing.get_type_hints(CompletionCreateParamsNonStreaming).keys()
    theirs |= typing.get_type_hints(CompletionCreateParamsStreaming).keys()
    assert completion_create_params
    assert theirs <= set(ChatCompletionRequest.model_fields)


def bounds(schema: dict, names: tuple[str, str]) -> tuple:
    """The two keywords, wherever they stand in a nullable schema."""
    found = [option for option in [schema, *schema.get("anyOf", ())] if any(name in option for name in names)]
    return tuple(found[0].get(name) for name in names) if found else (None, None)


@pytest.mark.parametrize("name", PARAMETERS)
def test_bounds_and_enums_of_the_description_are_the_guards(document, name):
    described = document["components"]["schemas"]["ChatCompletionRequest"]["properties"][name]
    check = PARAMETERS[name]
    if hasattr(check, "low"):
        assert bounds(described, ("minimum", "maximum")) == (check.low, check.high)
    if hasattr(check, "values"):
        assert set(bounds(described, ("enum", "enum"))[0]) == set(check.values)
    if hasattr(check, "longest"):
        assert bounds(described, ("maxLength", "maxLength"))[0] == check.longest
    if hasattr(check, "fewest"):
        low, high = bounds(described, ("minItems", "maxItems"))
        assert (low or 0, high) == (check.fewest, check.most)
    if hasattr(check, "nullable"):
        nullable = any(option.get("type") == "null" for option in described.get("anyOf", ()))
        assert nullable == check.nullable


def test_every_path_has_its_statuses_and_a_request_id(document):
    responses = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "404", "405", "413", "415", "429", "500", "502", "503", "504"}
    assert all("x-request-id" in response["headers"] for response in responses.values())
    assert set(responses["200"]["content"]) == {"application/json", "text/event-stream"}
    assert set(document["paths"]) == {
        "/v1/chat/completions", "/v1/models", "/v1/models/{model}", "/healthz", "/readyz", "/openapi.json"
    }  # fmt: skip


def test_every_reference_leads_somewhere(document):
    text = msgspec.json.encode(document).decode()
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= document["components"]["schemas"].keys()


def test_the_error_we_send_fits_its_description(document):
    validator(document, "ErrorBody").validate(msgspec.json.decode(GatewayError(400, "no", param="n").body()))


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_in_openais_form_fit_their_description(document, stream):
    import aiohttp

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
    body = Body(EVERYTHING)
    validator(document, "ChatCompletionRequest").validate(msgspec.json.decode(body.raw))


EVERYTHING = msgspec.json.encode(
    {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "system", "content": [{"type": "text", "text": "be kind"}]},
            {"role": "user", "content": [{"type": "text", "text": "what is this?"},
                                         {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa"}}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
        "temperature": 0.5, "top_p": 1, "n": 2, "stream": True, "stream_options": {"include_usage": True},
        "stop": ["a", "b"], "max_tokens": 5, "presence_penalty": -2, "frequency_penalty": 2, "logprobs": True,
        "top_logprobs": 20, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        "seed": -3, "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "user": "u", "max_completion_tokens": 9,
        "parallel_tool_calls": False, "reasoning_effort": "low", "metadata": {"a": "b"}, "store": False,
        "logit_bias": {"50256": -100}, "service_tier": "auto", "verbosity": "low", "modalities": ["text"],
        "audio": {"voice": "alloy", "format": "wav"}, "prediction": {"type": "content", "content": "x"},
        "web_search_options": {}, "moderation": {"model": "m"}, "functions": [{"name": "g"}],
        "function_call": "auto", "safety_identifier": "s", "prompt_cache_key": "k",
        "prompt_cache_options": {"mode": "explicit", "ttl": "30m"}, "prompt_cache_retention": "24h",
        "somebody_elses": {"top_k": 3},
    }
)  # fmt: skip
