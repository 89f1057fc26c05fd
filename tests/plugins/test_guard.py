"""RequestGuard: what OpenAI refuses is refused with OpenAI's body, what it accepts passes untouched."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import make_exchange
from crplugins.core.middleware import PluginMiddleware
from crplugins.plugins.guard import RequestGuard
from crplugins.plugins.guard_parameters import PARAMETERS
from crplugins.testing import drive
from crplugins.testing.asgi import http_scope
from tests.schema.test_openapi import EVERYTHING

HI = {"role": "user", "content": "hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def check(raw: bytes | dict, *, strict: bool = False, **headers: str) -> GatewayError | None:
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions", headers), time.monotonic, lambda: "id")
    exchange.body = Body(raw if isinstance(raw, bytes) else msgspec.json.encode(raw))
    coroutine = RequestGuard(strict=strict).on_request(exchange)
    try:
        coroutine.send(None)
    except GatewayError as error:
        return error
    except StopIteration:
        return None
    raise AssertionError("the guard must not wait")


def refusal(**changes) -> tuple:
    error = check({"model": "m", "messages": [HI], **changes})
    assert error is not None
    assert (error.status, error.error.type) == (400, "invalid_request_error")
    return error.error.param, error.error.code, error.error.message


def messages(*items) -> tuple:
    return refusal(messages=list(items))


REFUSED = [
    ({"model": 3}, "model", "invalid_type", "Invalid type for 'model': expected a string, but got an integer instead."),
    ({"temperature": 2.5}, "temperature", "decimal_above_max_value", "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead."),
    ({"temperature": True}, "temperature", "invalid_type", "Invalid type for 'temperature': expected a decimal, but got a boolean instead."),
    ({"n": 1.0}, "n", "invalid_type", "Invalid type for 'n': expected an integer, but got a decimal number instead."),
    ({"n": True}, "n", "invalid_type", "Invalid type for 'n': expected an integer, but got a boolean instead."),
    ({"max_completion_tokens": 0}, "max_completion_tokens", "integer_below_min_value", "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead."),
    ({"seed": 2**63}, "seed", "integer_above_max_value", "Invalid 'seed': integer above maximum value. Expected a value <= 9223372036854775807, but got 9223372036854775808 instead."),
    ({"stream": "yes"}, "stream", "invalid_type", "Invalid type for 'stream': expected a boolean, but got a string instead."),
    ({"stream": 1}, "stream", "invalid_type", "Invalid type for 'stream': expected a boolean, but got an integer instead."),
    ({"stop": 5}, "stop", "invalid_type", "Invalid type for 'stop': expected a string or an array of strings, but got an integer instead."),
    ({"stop": ["a", 1]}, "stop[1]", "invalid_type", "Invalid type for 'stop[1]': expected a string, but got an integer instead."),
    ({"stop": []}, "stop", "empty_array", "Invalid 'stop': empty array. Expected an array with minimum length 1, but got an empty array instead."),
    ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value", "Invalid value: 'xml'. Supported values are: 'text', 'json_object', and 'json_schema'."),
    ({"response_format": {}}, "response_format.type", "missing_required_parameter", "Missing required parameter: 'response_format.type'."),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}, "response_format.json_schema.name", "invalid_value", "Invalid 'response_format.json_schema.name': string does not match pattern. Expected a string that matches the pattern '[a-zA-Z0-9_-]+'."),
    ({"tools": {}}, "tools", "invalid_type", "Invalid type for 'tools': expected an array of objects, but got an object instead."),
    ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools[0].function.name", "string_above_max_length", "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string with length 65 instead."),
    ({"tools": [{"type": "browser"}]}, "tools[0].type", "invalid_value", "Invalid value: 'browser'. Supported values are: 'function' and 'custom'."),
    ({"tool_choice": "maybe"}, "tool_choice", "invalid_value", "Invalid value: 'maybe'. Supported values are: 'none', 'auto', and 'required'."),
    ({"metadata": {str(i): "x" for i in range(17)}}, "metadata", "object_above_max_properties", "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got 17 instead."),
    ({"metadata": {"a": 1}}, "metadata.a", "invalid_type", "Invalid type for 'metadata.a': expected a string, but got an integer instead."),
    ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value", "Invalid value: 'huge'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'."),
    ({"functions": []}, "functions", "empty_array", "Invalid 'functions': empty array. Expected an array with minimum length 1, but got an empty array instead."),
    ({"safety_identifier": "x" * 65}, "safety_identifier", "string_above_max_length", "Invalid 'safety_identifier': string too long. Expected a string with maximum length 64, but got a string with length 65 instead."),
    ({"stream_options": {"include_usage": "yes"}, "stream": True}, "stream_options.include_usage", "invalid_type", "Invalid type for 'stream_options.include_usage': expected a boolean, but got a string instead."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "param", "code", "message"), REFUSED)
def test_a_parameter_out_of_bounds_is_refused_in_openais_words(changes, param, code, message):
    assert refusal(**changes) == (param, code, message)


def test_the_client_reads_its_number_as_it_wrote_it():
    error = check(b'{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":3.0e0}')
    assert error.error.message.endswith("but got 3.0e0 instead.")


def test_messages_are_refused_in_openais_words():
    assert messages("hi") == (
        "messages[0]",
        "invalid_type",
        "Invalid type for 'messages[0]': expected an object, but got a string instead.",
    )
    assert refusal(messages="hi") == (
        "messages",
        "invalid_type",
        "Invalid type for 'messages': expected an array of objects, but got a string instead.",
    )
    assert messages({"content": "x"}) == (
        "messages[0].role",
        "missing_required_parameter",
        "Missing required parameter: 'messages[0].role'.",
    )
    assert messages(HI, {"role": 1}) == (
        "messages[1].role",
        "invalid_type",
        "Invalid type for 'messages[1].role': expected a string, but got an integer instead.",
    )
    assert messages({"role": "user", "content": 5})[:2] == ("messages[0].content", "invalid_type")
    assert messages({"role": "user", "content": [{"type": 3}]})[:2] == ("messages[0].content[0].type", "invalid_type")
    assert messages(HI, CALLED, {"role": "tool", "content": "x"})[:2] == (
        "messages[2].tool_call_id",
        "missing_required_parameter",
    )


def test_a_tool_message_needs_a_call_before_it():
    tool = {"role": "tool", "tool_call_id": "c", "content": "42"}
    expected = (
        "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
    )
    assert messages(HI, tool) == ("messages.[1].role", None, expected)
    assert check({"model": "m", "messages": [HI, CALLED, tool, tool]}) is None
    assert messages(HI, CALLED, tool, HI, tool)[0] == "messages.[4].role"


def test_a_content_over_ten_million_characters_is_refused():
    param, code, message = messages({"role": "user", "content": "x" * 10_485_761})
    assert (param, code) == ("messages[0].content", "string_above_max_length")
    assert (
        message
        == "Invalid 'messages[0].content': string too long. Expected a string with maximum length 10485760, but got a string with length 10485761 instead."
    )


ACCEPTED = [
    {name: None for name in PARAMETERS if getattr(PARAMETERS[name], "nullable", True)},
    {"stream_options": {}, "stream": True},
    {"top_logprobs": 0, "logprobs": True},
    {"temperature": 2, "top_p": 0.0, "n": 128, "presence_penalty": -2.0},
    {"messages": [{"role": "user"}, {"role": "user", "content": None}, {"role": "user", "content": []}]},
    {"messages": [{"role": "user", "content": [{"type": "new_kind", "data": 1}]}]},
    {"messages": [{"role": "developer", "content": ""}, {"role": "function", "name": "f", "content": None}]},
    {"top_k": 5, "thinking": {"type": "enabled"}, "cache_control": []},
]


@pytest.mark.parametrize("changes", ACCEPTED)
def test_what_openai_or_another_provider_accepts_passes(changes):
    assert check({"model": "m", "messages": [HI], **changes}) is None


def test_everything_at_once_passes_also_in_strict_mode_but_for_the_parameter_nobody_knows():
    assert check(EVERYTHING) is None
    assert check(EVERYTHING, strict=True).error.param == "somebody_elses"


@pytest.mark.parametrize("name", ["MODEL", "Messages", "Max_Tokens"])
def test_a_known_parameter_in_another_case_is_refused_because_some_upstreams_would_take_it(name):
    assert refusal(**{name: "x"}) == (name, "unknown_parameter", f"Unknown parameter: '{name}'.")


def test_checks_go_from_the_model_over_the_messages_to_the_parameters():
    bad = {"model": "", "messages": [], "n": 0}
    assert check(bad).error.message == "you must provide a model parameter"
    assert check(bad | {"model": "m"}).error.param == "messages"
    assert check(bad | {"model": "m", "messages": [HI]}).error.param == "n"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_is_not_declared_as_json_is_refused(kind):
    error = check({"model": "m", "messages": [HI]}, **{"content-type": kind})
    assert error.status == 415


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", ""]
)
def test_every_spelling_of_json_and_none_at_all_is_taken(kind):
    assert check({"model": "m", "messages": [HI]}, **({"content-type": kind} if kind else {})) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from(["model", "messages", "x", *PARAMETERS]), json_values, max_size=6)
odd_messages = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "name"]),
                    json_values | st.sampled_from(["user", "tool", "assistant"]), max_size=4), max_size=3)  # fmt: skip


@given(documents, st.booleans())
def test_no_document_breaks_the_guard(document, strict):
    error = check(document, strict=strict)
    assert error is None or error.status == 400


@given(odd_messages)
def test_no_messages_break_the_guard(items):
    error = check({"model": "m", "messages": items})
    assert error is None or (error.error.param or "messages").startswith("messages")


@given(st.binary(max_size=60))
def test_no_bytes_break_the_guard(raw):
    assert check(raw).status == 400
    nested = b'{"model":"m","messages":[{"role":"user","content":"' + raw + b'"}]}'
    error = check(nested)
    assert error is None or error.status == 400


def test_deep_nesting_is_refused_wherever_it_stands():
    deep = b"[" * 100_000 + b"]" * 100_000
    for name in (b"tools", b"metadata", b"messages", b"stop", b"x"):
        error = check(b'{"model":"m","messages":[{"role":"user","content":"hi"}],"' + name + b'":' + deep + b"}")
        assert error.status == 400


async def test_a_refusal_goes_out_before_the_app_is_reached():
    async def app(scope, receive, send):
        raise AssertionError("reached")

    answer = await drive(PluginMiddleware(app, plugins=[RequestGuard()]), body={"model": "m", "messages": []})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "empty_array")
