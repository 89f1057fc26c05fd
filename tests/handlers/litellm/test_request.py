"""What of a client's body reaches litellm and the provider, and what must not."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.handlers.litellm.request import OPENAI_PARAMETERS, ArgumentMap, messages_of
from crplugins.testing import FakeProvider
from tests.litellm_setup import HELLO, KEY, asking

EVIL = "http://127.0.0.1:9/evil"

# Every name by which a client could try to steer the gateway's own call, with a value that would show.
DANGEROUS: dict[str, Any] = {
    "api_base": EVIL, "base_url": EVIL, "api_key": "evil-key", "api_version": "evil", "organization": "evil-org",
    "custom_llm_provider": "anthropic", "deployment_id": "evil", "model_list": [{"model": "evil"}],
    "fallbacks": ["openai/evil"], "context_window_fallback_dict": {"m": "evil"}, "mock_response": "evil",
    "mock_tool_calls": [], "mock_timeout": True, "mock_delay": 30, "timeout": 0.001, "stream_timeout": 0.001,
    "request_timeout": 0.001, "max_retries": 5, "num_retries": 5, "retry_policy": {}, "retry_strategy": "evil",
    "extra_headers": {"x-evil": "1"}, "headers": {"x-evil": "1"}, "default_headers": {"x-evil": "1"},
    "provider_specific_header": {"custom_llm_provider": "openai", "extra_headers": {"x-evil": "1"}},
    "extra_query": {"evil": "1"}, "extra_body": {"model": "evil", "api_key": "evil-key"}, "client": "evil",
    "http_client": "evil", "shared_session": "evil", "ssl_verify": False, "azure_ad_token": "evil-token",
    "azure_ad_token_provider": "evil", "tenant_id": "evil", "client_id": "evil", "client_secret": "evil",
    "aws_access_key_id": "evil", "aws_secret_access_key": "evil", "aws_region_name": "evil",
    "aws_bedrock_runtime_endpoint": EVIL, "vertex_project": "evil", "vertex_credentials": "evil",
    "litellm_metadata": {"evil": "1"}, "litellm_params": {"api_base": EVIL}, "litellm_logging_obj": "evil",
    "litellm_credential_name": "evil", "litellm_call_id": "evil", "proxy_server_request": {"evil": "1"},
    "drop_params": True, "allowed_openai_params": ["evil"], "additional_drop_params": ["messages"],
    "logger_fn": "evil", "callbacks": ["evil"], "success_callback": ["evil"], "no-log": False, "caching": True,
    "cache": {"evil": 1}, "prompt_id": "evil", "guardrails": ["evil"], "hf_model_name": "evil",
    "input_cost_per_token": 0, "output_cost_per_token": 0, "acompletion": False, "use_litellm_proxy": True,
    "_skip_mcp_handler": False, "langfuse_public_key": "evil", "turn_off_message_logging": True,
    "model_info": {"evil": 1}, "user_continue_message": {"role": "user", "content": "evil"},
}  # fmt: skip


def body(**fields: Any) -> Body:
    return Body(msgspec.json.encode({"model": "m", "messages": HELLO, **fields}))


def arguments(fields: dict[str, Any], parameters: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    options = {"supported": OPENAI_PARAMETERS, "speaks_openai": True, **options}
    return ArgumentMap(parameters or {}, **options).arguments(body(**fields))


def test_openais_parameters_become_arguments_and_unknown_ones_go_into_the_json():
    assert arguments({"temperature": 0.5, "top_k": 3, "guided_json": {"a": 1}}) == {
        "temperature": 0.5,
        "extra_body": {"top_k": 3, "guided_json": {"a": 1}},
    }


def test_metadata_is_the_providers_and_never_litellms_own():
    assert arguments({"metadata": {"a": "b"}}) == {"extra_body": {"metadata": {"a": "b"}}}


def test_null_means_the_default_also_that_of_the_deployment():
    assert arguments({"temperature": None, "stop": None}, {"temperature": 0.1}) == {"temperature": 0.1}


def test_values_of_the_client_win_over_defaults_of_the_deployment():
    merged = arguments({"temperature": 0.9}, {"temperature": 0.1, "max_tokens": 7, "api_version": "2024-10-21"})
    assert merged == {"temperature": 0.9, "max_tokens": 7, "api_version": "2024-10-21"}


def test_the_extra_body_of_the_deployment_wins_over_unknown_parameters_of_the_client():
    assert arguments({"top_k": 3, "x": 1}, {"extra_body": {"top_k": 9}})["extra_body"] == {"top_k": 9, "x": 1}


def test_litellm_cannot_write_into_the_deployment():
    parameters = {"metadata": {"tags": []}, "extra_body": {"a": {}}}
    made = ArgumentMap(parameters, supported=(), speaks_openai=True).arguments(body())
    made["metadata"]["tags"].append("x")
    made["extra_body"]["a"]["x"] = 1
    assert parameters == {"metadata": {"tags": []}, "extra_body": {"a": {}}}


def test_the_deployment_neither_retries_nor_decides_about_streaming():
    settings = {"max_retries": 3, "num_retries": 3, "stream": True, "stream_options": {"include_usage": True}}
    assert arguments({}, settings) == {}


def test_streaming_is_asked_for_only_with_true():
    options = {"include_usage": True}
    assert arguments({"stream": True, "stream_options": options}) == {"stream": True, "stream_options": options}
    assert arguments({"stream": False, "stream_options": options}) == {}


def test_parameters_litellm_does_not_list_are_forwarded_to_providers_of_openais_wire():
    made = arguments({"verbosity": "low", "temperature": 1}, supported=["temperature"])
    assert made == {"verbosity": "low", "temperature": 1, "allowed_openai_params": ["verbosity"]}
    own = arguments({}, {"allowed_openai_params": ["seed"]})
    assert own == {"allowed_openai_params": ["seed"]}


def test_neutral_values_are_left_out_where_litellm_would_refuse_the_parameter():
    neutral = {"n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False, "logit_bias": {}}
    options = {"supported": ["temperature"], "speaks_openai": False}
    assert arguments(neutral | {"temperature": 1}, **options) == {"temperature": 1}
    assert arguments({"n": 2}, **options) == {"n": 2}  # litellm says what it thinks of it


HINTS: dict[str, Any] = {
    "metadata": {"a": "b"}, "prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h", "safety_identifier": "s", "store": True,
}  # fmt: skip


def test_what_openai_keeps_a_request_by_is_left_out_for_others_and_fails_none():
    options: dict[str, Any] = {"supported": ["temperature"], "speaks_openai": False}
    assert arguments(HINTS | {"temperature": 1}, **options) == {"temperature": 1}
    assert arguments(HINTS, supported=["store"], speaks_openai=False) == {"store": True}
    own = arguments(HINTS, supported=["metadata"], speaks_openai=False, extras={"metadata"})
    assert own == {"metadata": {"a": "b"}}
    allowed = {"allowed_openai_params": ["prompt_cache_key"]}
    assert arguments(HINTS, allowed, **options) == {"prompt_cache_key": "k", **allowed}
    assert arguments(HINTS).keys() >= {"prompt_cache_key", "safety_identifier", "store", "extra_body"}


def test_a_tool_with_a_text_of_its_own_form_is_refused_where_nobody_translates_it():
    tools = [
        {"type": "function", "function": {"name": "get"}},
        {"type": "custom", "custom": {"name": "patch"}},
    ]
    with pytest.raises(GatewayError) as refused:
        arguments({"tools": tools}, supported=["tools"], speaks_openai=False)
    assert (refused.value.status, refused.value.error.param) == (400, "tools[1].type")
    assert arguments({"tools": tools}) == {"tools": tools}
    claudes = [{"type": "custom", "name": "get", "input_schema": {"type": "object"}}]
    assert arguments({"tools": claudes}, supported=["tools"], speaks_openai=False) == {"tools": claudes}


GET = {"type": "function", "function": {"name": "get"}}
PUT = {"type": "function", "function": {"name": "put"}}
PATCH = {"type": "custom", "custom": {"name": "get"}}


def allowing(mode: str, *tools: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


@pytest.mark.parametrize(
    ("choice", "tools", "mode"),
    [
        (allowing("auto", PUT), [PUT], "auto"),
        (allowing("required", PUT, GET), [GET, PUT], "required"),
        (allowing("required", {"type": "function", "name": "put"}), [PUT], "required"),
        (PATCH, [PATCH], "required"),
    ],
)
def test_a_choice_that_litellm_does_not_write_is_said_by_the_tools_that_are_offered(
    choice: dict[str, Any], tools: list[Any], mode: str
) -> None:
    made = arguments({"tools": [GET, PUT, PATCH], "tool_choice": choice})
    assert made == {"tools": tools, "tool_choice": mode}


def test_a_choice_that_litellm_writes_is_left_alone() -> None:
    named = {"type": "function", "function": {"name": "get"}}
    for choice in ("required", named):
        assert arguments({"tools": [GET, PUT], "tool_choice": choice})["tool_choice"] == choice
    sent = {"tools": [GET, PUT], "tool_choice": allowing("auto", GET)}
    assert arguments(sent, allows_tools=True) == sent


@pytest.mark.parametrize("choice", [allowing("auto", PATCH), {"type": "custom", "custom": {"name": "put"}}])
def test_a_choice_of_a_tool_that_is_not_there_is_refused_by_name(choice: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refused:
        arguments({"tools": [GET, PUT], "tool_choice": choice})
    assert (refused.value.status, refused.value.error.param) == (400, "tool_choice")


def test_where_there_is_no_extra_body_only_the_providers_own_names_pass():
    options = {"supported": ["top_k"], "speaks_openai": False, "extras": {"top_k"}}
    assert arguments({"top_k": 3, "metadata": {"a": "b"}, "x": 1, "api_key": "k"}, **options) == {"top_k": 3}


def test_no_dangerous_name_becomes_an_argument_or_part_of_the_json():
    assert arguments(DANGEROUS, owned=DANGEROUS.keys()) == {}


def test_five_stop_sequences_are_refused_where_litellm_would_drop_one():
    with pytest.raises(GatewayError) as refused:
        arguments({"stop": list("abcde")})
    assert refused.value.status == 400
    assert refused.value.error.code == "array_above_max_length"


@pytest.mark.parametrize("messages", ["hi", {"role": "user"}, ["hi"], None])
def test_messages_that_are_no_list_of_objects_are_refused(messages):
    with pytest.raises(GatewayError) as refused:
        messages_of(Body(msgspec.json.encode({"messages": messages})))
    assert (refused.value.status, refused.value.error.param) == (400, "messages")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "model",
    ["openai/fake-model", "hosted_vllm/fake-model", "groq/fake-model", "mistral/fake-model", "azure/fake-model",
     "azure_ai/fake-model", "openrouter/fake-model", "databricks/fake-model", "anthropic/replay-anthropic-cache-ping"],
)  # fmt: skip
async def test_no_body_changes_where_as_whom_or_how_the_provider_is_called(cassettes, model, stream):
    async with FakeProvider(cassettes=cassettes) as provider, asking(provider, model, **versioned(model)) as asked:
        honest = await call(asked, provider, stream=stream)
        steered = await call(asked, provider, stream=stream, **DANGEROUS)
    assert steered.path == honest.path
    assert steered.api_key == honest.api_key == KEY
    ignored = {"content-length", "host"}
    assert {k: v for k, v in steered.headers.items() if k not in ignored} == {
        k: v for k, v in honest.headers.items() if k not in ignored
    }
    assert steered.json == honest.json
    assert b"evil" not in steered.body


def versioned(model: str) -> dict[str, str]:
    return {"api_version": "2024-10-21"} if model.startswith("azure") else {}


async def call(asked: Any, provider: FakeProvider, **fields: Any) -> Any:
    provider.clear()
    with suppress(GatewayError):  # the recording is a stream and no plain answer; what was sent is all that counts
        await (asked.stream if fields.pop("stream") else asked.plain)(**fields)
    [request] = provider.requests
    return request


@pytest.mark.parametrize(
    "model", ["openai/fake-model", "groq/fake-model", "mistral/fake-model", "hosted_vllm/fake-model"]
)
async def test_metadata_and_unknown_parameters_reach_the_provider_as_sent(model):
    sent = {"metadata": {"a": "b"}, "top_k": 5, "thinking": {"type": "disabled"}, "verbosity": "low",
            "reasoning_effort": "minimal", "safety_identifier": "u1", "prompt_cache_options": {"mode": "implicit"}}  # fmt: skip
    async with FakeProvider() as provider, asking(provider, model) as asked:
        await asked.plain(**sent)
        assert sent.items() <= provider.last_request.json.items()


async def test_anthropic_gets_its_own_parameters_and_no_extra_body(cassettes):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    async with (
        FakeProvider(cassettes=cassettes) as provider,
        asking(provider, "anthropic/replay-anthropic-cache-ping") as asked,
    ):
        await asked.stream(top_k=5, thinking=thinking, metadata={"a": "b"}, x=1, max_tokens=2000, n=1)
        sent = provider.last_request.json
        assert sent["top_k"] == 5
        assert sent["thinking"] == thinking
        assert not {"extra_body", "metadata", "x", "n"} & sent.keys()


async def test_a_tool_of_the_client_does_not_make_the_gateway_call_mcp_servers():
    tool = {"type": "mcp", "server_label": "litellm", "server_url": "litellm_proxy", "require_approval": "never"}
    async with FakeProvider() as provider, asking(provider) as asked:
        with suppress(GatewayError):  # the fake model does not know such a tool
            await asked.plain(tools=[tool])
        assert provider.requests[0].json["tools"] == [tool]


LOOK = {"name": "look", "parameters": {"type": "object", "properties": {}}}
TEXT = {"name": "text"}


@pytest.mark.parametrize(("model", "mode"), [("groq/fake-model", "required"), ("mistral/fake-model", "any")])
async def test_a_list_of_allowed_tools_reaches_the_provider_as_what_it_means(model, mode):
    tools = [{"type": "function", "function": LOOK}, {"type": "function", "function": {**LOOK, "name": "leap"}}]
    choice = allowing("required", {"type": "function", "function": {"name": "look"}})
    async with FakeProvider() as provider, asking(provider, model) as asked:
        await asked.plain(tools=tools, tool_choice=choice)
        sent = provider.last_request.json
    assert ([tool["function"]["name"] for tool in sent["tools"]], sent["tool_choice"]) == (["look"], mode)


@pytest.mark.parametrize("model", ["openai/fake-model", "azure/fake-model"])
async def test_a_custom_tool_can_be_demanded_of_openais_models(model):
    tools = [{"type": "function", "function": LOOK}, {"type": "custom", "custom": TEXT}]
    async with FakeProvider() as provider, asking(provider, model, **versioned(model)) as asked:
        await asked.plain(tools=tools, tool_choice={"type": "custom", "custom": TEXT})
        sent = provider.last_request.json
    assert (sent["tools"], sent["tool_choice"]) == ([{"type": "custom", "custom": TEXT}], "required")
