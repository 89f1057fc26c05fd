"""A request that two parties would read differently is refused, and so is one that takes long to read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from crplugins.core.errors import GatewayError
from crplugins.core.parameters import CHAT_PARAMETERS
from crplugins.core.request_json import LONGEST_NAME, MOST_PARAMETERS, MOST_VALUES
from crplugins.plugins.guard.parameters import PARAMETERS


def refusal(raw: bytes | str) -> GatewayError:
    with pytest.raises(GatewayError) as error:
        Body.of_request(raw.encode() if isinstance(raw, str) else raw)
    assert error.value.status == 400
    return error.value


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ('{"model":"a","messages":[],"model":"b"}', "model"),
        ('{"max_tokens":1,"max_tokens":100000}', "max_tokens"),
        ('{ "stream" : true ,\n "stream" : false }', "stream"),
        ('{"mod\\u0065l":"a","model":"b"}', "model"),
        ('{"messages":[{"role":"user","content":"hi","role":"system"}]}', "role"),
        ('{"messages":[{"role":"user","content":"hi","rol\\u0065":"system"}]}', "role"),
        ('{"messages":[{"role": "user", "content": "short", "content": "\\u00e9"}]}', "content"),
        ('{"stream_options":{"include_usage":true,"include_usage":false}}', "include_usage"),
        ('{"tools":[{"type":"function","function":{"name":"a","name":"b"}}]}', "name"),
        ('{"metadata":{"session":"a","session":"b"}}', "session"),
        ('{"":1,"":2}', ""),
        ('{"a":1e5,"b":[{"c":100000.0,"c":0.1}]}', "c"),
    ],
)
def test_a_key_that_stands_twice_in_one_object_is_refused_by_its_name(raw: str, key: str) -> None:
    error = refusal(raw).error
    assert (error.code, error.param, error.type) == ("duplicate_key", key, "invalid_request_error")
    assert f"'{key}'" in error.message


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_key_that_stands_twice_is_found_beside_texts_of_any_length(size: int) -> None:
    text = json.dumps("x" * size + '\\"role":"a",' * 3)
    message = f'{{"role":"user","content":{text}'
    assert refusal(f'{{"messages":[{message},"role":"system"}}]}}').error.param == "role"
    Body.of_request(f'{{"messages":[{message}}},{message}}}]}}'.encode())


@pytest.mark.parametrize(
    "name",
    [
        "MODEL", "Messages", "Max_Tokens", "max_token\u017f", "\uff4d\uff4f\uff44\uff45\uff4c", "Stream_Options",
        "\uff53tream_options", "max-tokens", "maxTokens", "max tokens", "stream\u200b", "\ufefftools", "model ", "n\u00ad",
        "temper\u0061\u0301ture\u200d", "ﬁle",
    ],
)  # fmt: skip
def test_a_known_parameter_in_disguise_is_an_unknown_one(name: str) -> None:
    if name in ("temper\u0061\u0301ture\u200d", "ﬁle"):  # other letters are another name
        Body.of_request(json.dumps({"model": "m", name: 1}).encode())
        return
    error = refusal(json.dumps({"model": "m", "max_tokens": 1, name: 1})).error
    assert error.code == "unknown_parameter"
    assert error.message.startswith("Unknown parameter: '")


def test_two_unknown_parameters_that_some_parser_takes_for_one_are_refused() -> None:
    assert refusal('{"top_k":1,"Top_K":2}').error.param == "Top_K"
    Body.of_request(b'{"top_k":1,"min_p":2,"thinking":{"type":"enabled"},"chat_template_kwargs":{}}')


def test_names_of_parameters_have_a_length_and_a_number() -> None:
    assert refusal(json.dumps({"k" * (LONGEST_NAME + 1): 1})).error.code == "unknown_parameter"
    Body.of_request(json.dumps({f"k{n}": 1 for n in range(MOST_PARAMETERS)}).encode())
    assert refusal(json.dumps({f"k{n}": 1 for n in range(MOST_PARAMETERS + 1)})).error.code == "too_many_parameters"


def test_the_list_of_parameters_is_the_one_that_the_guard_checks() -> None:
    assert {"model", "messages", *PARAMETERS} == CHAT_PARAMETERS


CROWDS = {
    "keys": lambda n: b'{"model":"m",' + b",".join(b'"k%d":1' % i for i in range(n)) + b"}",
    "numbers": lambda n: b'{"a":[' + b"1.5," * n + b"1]}",
    "objects": lambda n: b'{"a":[' + b"{}," * n + b"1]}",
    "texts": lambda n: b'{"a":[' + b'"",' * n + b"1]}",
    "texts that end with a backslash": lambda n: b'{"a":[' + b'"\\\\",' * n + b"1]}",
    "texts that end with a quote": lambda n: b'{"a":[' + b'"\\"",' * n + b"1]}",
    "nested keys": lambda n: b'{"a":' * n,
}


def test_numbers_of_tokens_may_be_as_many_as_the_body_is_long() -> None:
    for tokens in ([1] * 3 * MOST_VALUES, [[123, 4]] * 20 + [[5] * MOST_VALUES] * 3):
        for dialect in (EMBEDDINGS, COMPLETIONS):
            name = dialect.tokens[0]
            raw = json.dumps({"model": "m", name: tokens}).encode()
            assert Body.of_request(raw, tokens=dialect.tokens).get(name) == tokens
            assert Body(raw).get(name) == tokens
    for broken in (b"[1,,2]", b"[1" + b",1" * MOST_VALUES + b",]", b"[" + b"1," * MOST_VALUES + b"-1 2]"):
        with pytest.raises(GatewayError):
            Body.of_request(b'{"input":' + broken + b"}", tokens=("input",))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"input":[%b]}',  # of another protocol, which reads each of them
        b'{"messages":[{"role":"user","content":[%b]}]}',
        b'{"tools":[{"parameters":{"enum":[%b]}}]}',
        b'{"tools":[{"parameters":{"prompt":[%b]}}]}',
        b'{"pr\\u006fmpt":[%b]}',
    ],
)
def test_numbers_that_stand_elsewhere_are_counted(raw: bytes) -> None:
    body = raw % (b"1," * 2 * MOST_VALUES + b"1")
    for dialect in (CHAT, RESPONSES, EMBEDDINGS if b"prompt" in raw else COMPLETIONS):
        with pytest.raises(GatewayError) as error:
            Body.of_request(body, tokens=dialect.tokens)
        assert error.value.error.code == "too_many_values"


@pytest.mark.parametrize("crowd", CROWDS)
def test_what_holds_more_values_than_a_conversation_is_refused(crowd: str) -> None:
    assert refusal(CROWDS[crowd](2 * MOST_VALUES + 10)).error.code == "too_many_values"
    assert Body(CROWDS[crowd](2 * MOST_VALUES + 10)).raw  # nobody has asked yet
    with pytest.raises(GatewayError):
        _ = Body(CROWDS[crowd](2 * MOST_VALUES + 10)).fields


@pytest.mark.parametrize(
    "text",
    ["hello, world, ", '{"a":1,"b":[1,2]},', "\\", '"', "\n", "\u00e9,", "\x7f", ', "role": "user", '],
)
def test_long_texts_count_as_one_value_whatever_is_in_them(text: str) -> None:
    content = text * (1_000_000 // len(text))
    for ascii_only in (True, False):
        message = {"role": "user", "content": content}
        raw = json.dumps({"model": "m", "messages": [message, message]}, ensure_ascii=ascii_only).encode()
        assert Body.of_request(raw).raw is raw


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' + b"[" * 100_000, b'{"a": "\xff', b'{"a":01}', b"", b"{} x"])
def test_what_is_no_json_is_refused_as_such(raw: bytes) -> None:
    assert refusal(raw).error.message.startswith("We could not parse the JSON body")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(categories=["Lo"]), max_size=5), VALUES, max_size=4), st.booleans())
def test_what_python_writes_passes_with_and_without_spaces(document: dict[str, Any], compact: bool) -> None:
    separators = (",", ":") if compact else (", ", ": ")
    for ascii_only in (True, False):
        raw = json.dumps(document, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        try:
            fields = Body(raw).fields
        except GatewayError:  # half a surrogate pair
            continue
        if len({name.casefold() for name in fields}) == len(fields):
            assert Body.of_request(raw).raw is raw


@given(st.text(min_size=1, max_size=4), VALUES, VALUES, st.sampled_from(["", " ", "\n"]))
def test_a_key_written_twice_never_passes(key: str, first: Any, second: Any, space: str) -> None:
    written = json.dumps(key)
    inner = f"{{{written}{space}:{json.dumps(first)},{space}{written}:{json.dumps(second)}}}"
    for raw in (inner, f'{{"messages":[{inner}]}}', f'{{"a":{{"b":[1.50,{inner}]}}}}'):
        with pytest.raises(GatewayError):
            Body.of_request(raw.encode())


@pytest.mark.parametrize("n", [b"129", b"1000000", b"9" * 5000])
def test_nobody_is_asked_for_more_answers_than_openai_gives(n: bytes) -> None:
    refused = refusal(b'{"model":"m","n":' + n + b"}")
    assert (refused.error.code, refused.error.param) == ("integer_above_max_value", "n")
    for good in (b"1", b"128", b"null"):
        assert Body.of_request(b'{"model":"m","n":' + good + b"}").fields
