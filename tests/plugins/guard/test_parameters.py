"""RequestGuard: the exact body of each refusal of a parameter.

The wording of those marked R is recorded from api.openai.com, of the others it follows the same pattern.
"""

import pytest

from crplugins.plugins.guard.parameters import PARAMETERS
from tests.plugins.guard.setup import (
    bad_type,
    bad_value,
    check,
    empty,
    lacking,
    out_of_bounds,
    refusal,
    refused,
    too_long,
    with_changes,
)

A_SCHEMA = {"type": "json_schema"}


def function(**members: object) -> dict:
    return {"type": "function", "function": {"name": "f", **members}}


def no_match(param: str) -> dict:
    expected = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
    return refused(f"Invalid '{param}': string does not match pattern. {expected}", param, "invalid_value")


def many(param: str, count: int) -> dict:
    expected = f"Expected an object with at most 16 properties, but got an object with {count} properties instead."
    return refused(f"Invalid '{param}': too many properties. {expected}", param, "object_above_max_properties")


TYPES = [
    ("model", 3, "a string", "an integer"),
    ("temperature", "hot", "a decimal", "a string"),  # R
    ("temperature", True, "a decimal", "a boolean"),
    ("top_p", "wide", "a decimal", "a string"),  # R
    ("n", "2", "an integer", "a string"),  # R
    ("n", 1.0, "an integer", "a decimal number"),
    ("n", True, "an integer", "a boolean"),
    ("seed", 1.5, "an integer", "a decimal number"),  # R
    ("max_tokens", [], "an integer", "an array"),
    ("stream", "yes", "a boolean", "a string"),
    ("stream", 1, "a boolean", "an integer"),
    ("store", "yes", "a boolean", "a string"),  # R
    ("logprobs", 0, "a boolean", "an integer"),
    ("parallel_tool_calls", None, "a boolean", "null"),  # R
    ("user", {"a": 1}, "a string", "an object"),  # R
    ("stop", 5, "one of a string or array of strings", "an integer"),
    ("tools", "none", "an array of objects", "a string"),  # R
    ("tools", {}, "an array of objects", "an object"),
    ("tool_choice", 7, "one of one of 'none', 'auto', or 'required' or object", "an integer"),  # R
    ("functions", "x", "an array of function definitions", "a string"),  # R
    ("response_format", "json", "an object", "a string"),  # R
    ("stream_options", True, "an object", "a boolean"),
    ("metadata", "x", "a metadata object", "a string"),  # R
    ("service_tier", {}, "one of 'auto', 'default', 'fast', 'flex', 'priority', or 'scale'", "an object"),
    ("reasoning_effort", 3, "one of 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', or 'max'", "an integer"),
    ("modalities", "text", "an array of strings", "a string"),
    ("logit_bias", [], "an object", "an array"),
]
MEMBER_TYPES = [
    ({"stop": ["a", 1]}, "stop[1]", "a string", "an integer"),
    ({"metadata": {"a": 1}}, "metadata.a", "a string", "an integer"),  # R
    ({"metadata": {"a": None}}, "metadata.a", "a string", "null"),
    ({"logit_bias": {"50256": "much"}}, "logit_bias.50256", "a decimal", "a string"),
    ({"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage", "a boolean", "a string"),
    ({"tools": ["f"]}, "tools[0]", "an object", "a string"),
    ({"tools": [function(parameters=[])]}, "tools[0].function.parameters", "an object", "an array"),
    ({"tools": [function(strict="yes")]}, "tools[0].function.strict", "a boolean", "a string"),
    ({"response_format": A_SCHEMA | {"json_schema": []}}, "response_format.json_schema", "an object", "an array"),
    ({"audio": {"voice": 1, "format": "wav"}}, "audio.voice", "one of a string or object", "an integer"),
    ({"prediction": {"type": "content", "content": 1}}, "prediction.content", "one of a string or array of objects", "an integer"),
    ({"moderation": {"model": 3}}, "moderation.model", "a string", "an integer"),
    ({"web_search_options": {"user_location": "Paris"}}, "web_search_options.user_location", "an object", "a string"),
]  # fmt: skip
BOUNDS = [
    ("temperature", 3, "<= 2"),  # R
    ("temperature", 2.5, "<= 2"),
    ("temperature", -1, ">= 0"),  # R
    ("top_p", 1.5, "<= 1"),  # R
    ("presence_penalty", -3, ">= -2"),  # R
    ("frequency_penalty", 3, "<= 2"),  # R
    ("n", 0, ">= 1"),  # R
    ("n", 129, "<= 128"),
    ("max_tokens", -1, ">= 1"),  # R
    ("max_completion_tokens", 0, ">= 1"),  # R
    ("top_logprobs", -1, ">= 0"),  # R
    ("top_logprobs", 21, "<= 20"),
    ("seed", 2**63, "<= 9223372036854775807"),
    ("seed", -(2**63) - 1, ">= -9223372036854775808"),
]
REFUSED = [
    ({"stop": list("abcde")}, too_long("stop", "array", 4, 5)),  # R
    ({"stop": []}, empty("stop", "array")),
    ({"tools": []}, empty("tools", "array")),  # R
    ({"functions": []}, empty("functions", "array")),
    ({"functions": [{"name": "f"}] * 129}, too_long("functions", "array", 128, 129)),
    ({"functions": [{"parameters": {}}]}, lacking("functions[0].name")),  # R
    ({"function_call": {}}, lacking("function_call.name")),  # R
    ({"tools": [{"type": "function"}]}, lacking("tools[0].function")),  # R
    ({"tools": [{"type": "function", "function": {}}]}, lacking("tools[0].function.name")),  # R
    ({"tools": [function(), {}]}, lacking("tools[1].type")),
    ({"tools": [function(name="")]}, empty("tools[0].function.name", "string")),  # R
    ({"tools": [function(name="a b")]}, no_match("tools[0].function.name")),  # R
    ({"tools": [function(name="a\n")]}, no_match("tools[0].function.name")),
    ({"tools": [function(name="x" * 65)]}, too_long("tools[0].function.name", "string", 64, 65)),
    ({"tools": [{"type": "custom", "custom": {"name": "g", "format": {"type": "bnf"}}}]},
     bad_value("tools[0].custom.format.type", "bnf", "'text' and 'grammar'")),
    ({"tool_choice": "maybe"}, bad_value("tool_choice", "maybe", "'none', 'auto', and 'required'")),  # R
    ({"tool_choice": {"type": "function", "function": {}}}, lacking("tool_choice.function.name")),  # R
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}},
     lacking("tool_choice.allowed_tools.tools")),
    ({"function_call": "maybe"}, bad_value("function_call", "maybe", "'none' and 'auto'")),
    ({"response_format": {"type": "xml"}},
     bad_value("response_format.type", "xml", "'json_object', 'json_schema', and 'text'")),  # R
    ({"response_format": {}}, lacking("response_format.type")),  # R
    ({"response_format": A_SCHEMA}, lacking("response_format.json_schema")),  # R
    ({"response_format": A_SCHEMA | {"json_schema": {}}}, lacking("response_format.json_schema.name")),  # R
    ({"response_format": A_SCHEMA | {"json_schema": {"name": "a b"}}}, no_match("response_format.json_schema.name")),  # R
    ({"response_format": A_SCHEMA | {"json_schema": {"name": "x" * 65}}},
     too_long("response_format.json_schema.name", "string", 64, 65)),
    ({"metadata": {str(i): "x" for i in range(17)}}, many("metadata", 17)),  # R
    ({"metadata": {"k": "x" * 600}}, too_long("metadata.k", "string", 512, 600)),  # R
    ({"metadata": {"k" * 70: "v"}}, refused(
        "Invalid property name in 'metadata': 'kkk...kkk' is too long. Expected a string with maximum length 64, but "
        "got a string with length 70 instead.", f"metadata.{'k' * 70}", "property_name_above_max_length")),  # R
    ({"logit_bias": {"1": 101}}, out_of_bounds("logit_bias.1", "<= 100", 101, "decimal")),
    ({"reasoning_effort": "huge"}, bad_value(
        "reasoning_effort", "huge", "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'")),
    ({"verbosity": "mute"}, bad_value("verbosity", "mute", "'low', 'medium', and 'high'")),  # R
    ({"service_tier": "gold"},
     bad_value("service_tier", "gold", "'auto', 'default', 'fast', 'flex', 'priority', and 'scale'")),
    ({"prompt_cache_options": {"mode": "x"}}, bad_value("prompt_cache_options.mode", "x", "'implicit' and 'explicit'")),
    ({"prompt_cache_retention": "1h"},
     bad_value("prompt_cache_retention", "1h", "'in_memory', 'in-memory', and '24h'")),
    ({"modalities": ["text", "smell"]}, bad_value("modalities[1]", "smell", "'text' and 'audio'")),
    ({"audio": {"format": "wav"}}, lacking("audio.voice")),
    ({"audio": {"voice": "alloy"}}, lacking("audio.format")),
    ({"prediction": {"type": "guess"}}, bad_value("prediction.type", "guess", "'content'")),
    ({"prediction": {"type": "content"}}, lacking("prediction.content")),
    ({"web_search_options": {"search_context_size": "all"}},
     bad_value("web_search_options.search_context_size", "all", "'low', 'medium', and 'high'")),
    ({"web_search_options": {"user_location": {"type": "approximate"}}},
     lacking("web_search_options.user_location.approximate")),
    ({"moderation": {}}, lacking("moderation.model")),  # R
    ({"moderation": {"model": "m", "policy": {"input": {"mode": "x"}}}},
     bad_value("moderation.policy.input.mode", "x", "'score' and 'block'")),
    ({"safety_identifier": "x" * 65}, too_long("safety_identifier", "string", 64, 65)),
    ({"top_logprobs": 3}, refused(
        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs", None)),  # R
    ({"top_logprobs": 3, "logprobs": False}, refused(
        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs", None)),
    ({"stream_options": {"include_usage": True}}, refused(
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None)),  # R
    ({"stream_options": {}, "stream": None}, refused(
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected", "got"), TYPES)
def test_a_parameter_of_the_wrong_type_is_refused(name, value, expected, got):
    assert refusal(**{name: value}) == bad_type(name, expected, got)


@pytest.mark.parametrize(("changes", "param", "expected", "got"), MEMBER_TYPES)
def test_a_member_of_the_wrong_type_is_refused_by_its_path(changes, param, expected, got):
    assert refusal(**changes) == bad_type(param, expected, got)


@pytest.mark.parametrize(("name", "value", "bound"), BOUNDS)
def test_a_number_out_of_bounds_is_refused(name, value, bound):
    kind = "decimal" if name in ("temperature", "top_p", "presence_penalty", "frequency_penalty") else "integer"
    assert refusal(logprobs=True, **{name: value}) == out_of_bounds(name, bound, value, kind)


@pytest.mark.parametrize(("changes", "expected"), REFUSED)
def test_a_value_openai_does_not_take_is_refused_in_its_words(changes, expected):
    assert refusal(**changes) == expected


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("temperature", "3"),
        ("temperature", "3.0"),
        ("temperature", "3.0e0"),
        ("n", "0129"[1:]),
        ("temperature", "1e999"),
    ],
)
def test_the_client_reads_its_number_as_it_wrote_it(name, spelling):
    request = f'{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"{name}":{spelling}}}'
    assert check(request.encode()).error.message.endswith(f"but got {spelling} instead.")


@pytest.mark.parametrize("name", ["n", "seed", "temperature"])
def test_a_number_of_five_thousand_digits_is_refused_in_a_short_answer(name):
    request = f'{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"{name}":{"9" * 5000}}}'
    error = check(request.encode())
    assert error.error.code.endswith("_above_max_value")
    assert len(error.error.message) < 300


def test_a_long_value_is_repeated_only_in_part():
    assert len(refusal(verbosity="x" * 5000)["message"]) < 300
    assert len(refusal(metadata={"x" * 5000: "v"})["param"]) < 300


ACCEPTED = [
    {name: None for name in PARAMETERS if name != "parallel_tool_calls"},
    {"stream_options": {}, "stream": True},
    {"stream_options": {"include_usage": None}, "stream": True},
    {"top_logprobs": 0, "logprobs": True},
    {"temperature": 0, "top_p": 0.0, "n": 1, "presence_penalty": -2.0, "max_tokens": 1},
    {"temperature": 2, "top_p": 1, "n": 128, "presence_penalty": 2, "frequency_penalty": 1e-3},
    {"seed": -(2**63)},
    {"stop": ""},
    {"stop": ["a"]},
    {"metadata": {f"{i:064}": "x" * 512 for i in range(16)}},
    {"metadata": {"键" * 64: "值" * 512}},
    {"metadata": {}},
    {"logit_bias": {"50256": -100, "1": 0.5}},
    {"safety_identifier": "é" * 64},
    {"tools": [function(name="x" * 64, parameters={"any": ["schema"]})] * 200},
    {"tool_choice": {"type": "custom", "custom": {"name": "g"}}},
    {"functions": [{"name": "f"}] * 128, "function_call": {"name": "f"}},
    {"response_format": {"type": "text"}},
    {"web_search_options": {}},
]
OTHER_PROVIDERS = [
    ({"top_k": 5, "thinking": {"type": "enabled"}, "cache_control": []}, "top_k"),
    ({"tools": [{"type": "browser_search"}]}, "tools[0].type"),
    ({"audio": {"voice": "v", "format": "ogg"}}, "audio.format"),
    ({"tools": [function() | {"cache_control": {"type": "ephemeral"}}]}, "tools[0].cache_control"),
    ({"stream": True, "stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ({"prompt_cache_options": {"ttl": "1h"}}, "prompt_cache_options.ttl"),
]


@pytest.mark.parametrize("changes", ACCEPTED)
@pytest.mark.parametrize("strict", [False, True])
def test_what_openai_accepts_passes(changes, strict):
    assert check(with_changes(**changes), strict=strict) is None


@pytest.mark.parametrize(("changes", "param"), OTHER_PROVIDERS)
def test_what_another_provider_may_know_is_forwarded_and_refused_only_if_strict(changes, param):
    assert check(with_changes(**changes)) is None
    assert refusal(strict=True, **changes)["param"] == param


def test_a_strict_guard_names_the_unknown_member():
    assert refusal(strict=True, stream=True, stream_options={"bogus": 1}) == refused(
        "Unknown parameter: 'stream_options.bogus'.", "stream_options.bogus", "unknown_parameter"
    )


def test_faults_are_reported_in_openais_order_whatever_the_order_of_the_request():
    order = [
        "stream", "n", "max_completion_tokens",  # judged with or without a guard: see `core.request_json`
        "functions", "tools", "parallel_tool_calls", "temperature", "top_p", "presence_penalty", "frequency_penalty",
        "logprobs", "top_logprobs", "user", "seed", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "service_tier", "store", "metadata", "verbosity",
    ]  # fmt: skip
    wrong: dict[str, object] = {name: [] if name != "tools" else "x" for name in reversed(order)}
    for name in order:
        assert refusal(**wrong)["param"] == name
        del wrong[name]
