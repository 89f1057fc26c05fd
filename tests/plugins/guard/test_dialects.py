"""RequestGuard in each protocol: what its provider refuses is refused in its words, what others may support passes."""

import sys
import time
from collections import Counter
from typing import Any

import msgspec
import pytest

from crplugins.asgi.scope import make_exchange
from crplugins.core.body import Body
from crplugins.core.dialects import ALL, BY_NAME
from crplugins.core.errors import GatewayError
from crplugins.core.form_body import FormBody
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.plugins.guard.tables import table_of
from crplugins.testing.asgi import http_scope

HI = {"role": "user", "content": "Hi"}
GOOD: dict[str, dict[str, Any]] = {
    "completions": {"prompt": "Hi", "n": 2, "best_of": 3, "echo": True, "logprobs": 5, "suffix": "x", "stop": ["a"]},
    "responses": {
        "input": [HI, {"type": "function_call_output", "call_id": "c", "output": "x"}, {"type": "item_reference", "id": "i"}],
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}, {"type": "web_search"}],
        "reasoning": {"effort": "low", "summary": "auto"}, "text": {"format": {"type": "text"}}, "max_output_tokens": 16,
        "store": False, "include": ["reasoning.encrypted_content"], "parallel_tool_calls": True, "tool_choice": "auto",
    },
    "messages": {
        "messages": [HI, {"role": "assistant", "content": [{"type": "text", "text": "x"}]}, HI, HI], "max_tokens": 2048,
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}], "temperature": 1,
        "tools": [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "tool_choice": {"type": "tool", "name": "f"}, "top_k": 5,
        "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "stream": True,
    },
    "count_tokens": {"messages": [HI], "system": "x"},
    "embeddings": {"input": ["a", "b"], "dimensions": 3, "encoding_format": "base64", "user": "u"},
    "rerank": {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1},
    "moderations": {"input": [{"type": "text", "text": "x"}]},
    "images": {"prompt": "a cat", "n": 1, "size": "1024x1024", "quality": "low", "stream": False},
    "image_edits": {
        "prompt": "a hat", "n": 1, "input_fidelity": "high", "partial_images": 2, "mask": {"file_id": "file-1"},
        "images": [{"image_url": "https://example.org/a.png"}, {"file_id": "file-2"}], "stream": True,
    },
    "speech": {"input": "Hello", "voice": "alloy", "speed": 1, "response_format": "mp3"},
}  # fmt: skip


def refusal(name: str, *, strict: bool = False, **parameters: Any) -> GatewayError | None:
    dialect = BY_NAME[name]
    exchange = make_exchange(http_scope("POST", "/v1" + dialect.path, {}), time.monotonic, lambda: "id", dialect)
    given = {each: value for each, value in ({"model": "m"} | GOOD[name] | parameters).items() if value != "LEFT OUT"}
    exchange.body = Body(msgspec.json.encode(given))
    try:
        RequestGuard(strict=strict).on_request(exchange)
    except GatewayError as error:
        return error
    return None


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", GOOD)
def test_what_a_provider_documents_passes(name: str, strict: bool) -> None:
    assert refusal(name, strict=strict) is None


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", [each.name for each in ALL])
def test_every_dialect_has_its_table(name: str, strict: bool) -> None:
    assert table_of(name, strict=strict).checks


@pytest.mark.parametrize("name", GOOD)
def test_what_nobody_knows_passes_unless_strict(name: str) -> None:
    assert refusal(name, new_parameter=1) is None
    refused = refusal(name, strict=True, new_parameter=1)
    assert refused is not None
    assert refused.error.param == "new_parameter"


TOKENS = "a string, an array of strings, an array of token integers, or an array of token integer arrays"
BAD = [
    ("completions", {"prompt": "LEFT OUT"}, "One of 'prompt' or 'prompt_embeds' must be provided."),
    ("completions", {"prompt": 5}, f"Invalid type for 'prompt': expected {TOKENS}, but got an integer instead."),
    ("completions", {"prompt": []}, "Invalid 'prompt': empty array. Expected an array with minimum length 1, but got an empty array instead."),
    ("completions", {"prompt": ["a", [1]]}, f"Invalid type for 'prompt': expected {TOKENS}, but got an array instead."),
    ("completions", {"prompt": ["a", None]}, "Invalid type for 'prompt[1]': expected a string or an array of token integers, but got null instead."),
    ("completions", {"best_of": "2"}, "Invalid type for 'best_of': expected an integer, but got a string instead."),
    ("completions", {"max_tokens": -1}, "Invalid 'max_tokens': integer below minimum value. Expected a value >= 0, but got -1 instead."),
    ("completions", {"temperature": 3}, "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead."),
    ("completions", {"stream_options": {}}, "The 'stream_options' parameter is only allowed when 'stream' is enabled."),
    ("embeddings", {"input": "LEFT OUT"}, "One of 'input' or 'messages' must be provided."),
    ("embeddings", {"input": [1.5]}, "Invalid type for 'input[0]': expected a string or an array of token integers, but got a decimal number instead."),
    ("embeddings", {"dimensions": 0}, "Invalid 'dimensions': integer below minimum value. Expected a value >= 1, but got 0 instead."),
    ("responses", {"input": 7}, "Invalid type for 'input': expected one of a string or array of input items, but got an integer instead."),
    ("responses", {"input": ["a"]}, "Invalid type for 'input[0]': expected an object, but got a string instead."),
    ("responses", {"max_output_tokens": 0}, "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead."),
    ("responses", {"tools": [{"type": "function"}]}, "Missing required parameter: 'tools[0].name'."),
    ("responses", {"text": {"format": {"type": "xml"}}}, "Invalid value: 'xml'. Supported values are: 'text', 'json_object', and 'json_schema'."),
    ("responses", {"truncation": "some"}, "Invalid value: 'some'. Supported values are: 'auto' and 'disabled'."),
    ("messages", {"max_tokens": "LEFT OUT"}, "max_tokens: Field required"),
    ("messages", {"messages": "LEFT OUT"}, "messages: Field required"),
    ("messages", {"messages": []}, "messages: at least one message is required"),
    ("messages", {"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    ("messages", {"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
    ("messages", {"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role: Input should be 'user' or 'assistant'"),
    ("messages", {"messages": [HI, {"role": "user"}]}, "messages.1.content: Field required"),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text: Field required"),
    ("messages", {"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens: Input should be greater than or equal to 1024"),
    ("messages", {"tools": [{"input_schema": {}}]}, "tools.0.name: Field required"),
    ("messages", {"tools": [{"type": "custom", "input_schema": {}}]}, "tools.0.name: Field required"),
    ("messages", {"tools": [{"type": 3, "name": "a"}]}, "tools.0.type: expected a string, but got an integer instead."),
    ("rerank", {"query": "LEFT OUT"}, "Missing required parameter: 'query'."),
    ("rerank", {"documents": []}, "Invalid 'documents': empty array. Expected an array with minimum length 1, but got an empty array instead."),
    ("moderations", {"input": 3}, "Invalid type for 'input': expected one of a string or array of strings, but got an integer instead."),
    ("images", {"prompt": "LEFT OUT"}, "Missing required parameter: 'prompt'."),
    ("image_edits", {"images": "LEFT OUT"}, "Missing required parameter: 'images'."),
    ("image_edits", {"images": []}, "Invalid 'images': empty array. Expected an array with minimum length 1, but got an empty array instead."),
    ("image_edits", {"images": [5]}, "Invalid type for 'images[0]': expected an object, but got an integer instead."),
    ("image_edits", {"prompt": "LEFT OUT"}, "Missing required parameter: 'prompt'."),
    ("image_edits", {"partial_images": 4}, "Invalid 'partial_images': integer above maximum value. Expected a value <= 3, but got 4 instead."),
    ("speech", {"speed": 9}, "Invalid 'speed': decimal above maximum value. Expected a value <= 4, but got 9 instead."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters", "message"), BAD)
def test_what_a_provider_refuses_is_refused_in_its_words(name: str, parameters: dict[str, Any], message: str) -> None:
    refused = refusal(name, **parameters)
    assert refused is not None
    assert (refused.status, refused.error.message) == (400, message)


STRICT = [
    ("completions", {"logprobs": 6}), ("completions", {"best_of": 21}), ("embeddings", {"input": ""}),
    ("embeddings", {"input": ["x"] * 2049}), ("responses", {"max_output_tokens": 15}), ("images", {"n": 11}),
    ("image_edits", {"images": [{"file_id": "f"}] * 17}), ("image_edits", {"input_fidelity": "exact"}), ("image_edits", {"n": 11}),
    ("speech", {"input": "x" * 4097}), ("speech", {"voice": "LEFT OUT"}), ("speech", {"response_format": "au"}),
    ("completions", {"prompt": "LEFT OUT", "prompt_embeds": "x"}), ("messages", {"top_k": -1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters"), STRICT)
def test_what_others_may_support_passes_unless_strict(name: str, parameters: dict[str, Any]) -> None:
    assert refusal(name, **parameters) is None
    assert refusal(name, strict=True, **parameters) is not None


@pytest.mark.parametrize("content", ["Plan first.", [{"type": "text", "text": "Plan first."}]])
@pytest.mark.parametrize("strict", [True, False])
def test_the_system_may_speak_behind_the_user_as_it_does_in_claude_code(content: Any, *, strict: bool) -> None:
    for name in ("messages", "count_tokens"):
        assert refusal(name, strict=strict, messages=[HI, {"role": "system", "content": content}]) is None


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "tool",
    [
        {"type": "mcp_toolset", "mcp_server_name": "docs"},
        {"type": "web_search_20260318", "name": "web_search", "max_uses": 3},
        {"type": "computer_toolset_20260801"},
    ],
)
def test_tools_that_run_at_anthropic_pass_as_they_are(tool: dict[str, Any], *, strict: bool) -> None:
    assert refusal("messages", strict=strict, tools=[tool]) is None


def test_a_system_message_is_told_where_it_belongs() -> None:
    refused = refusal("messages", messages=[{"role": "system", "content": "x"}, HI])
    assert refused is not None
    assert refused.error.message.startswith('messages: Unexpected role "system". The Messages API accepts a top-level')


@pytest.mark.parametrize("tokens", [[1] * 300_000, [[1] * 100] * 3000])
def test_numbers_of_tokens_are_not_looked_at_one_by_one(tokens: list[Any]) -> None:
    calls: Counter[str] = Counter()
    sys.setprofile(lambda _frame, event, _argument: calls.update([event]))
    try:
        Body.of_request(msgspec.json.encode({"model": "m", "input": tokens}), tokens=BY_NAME["embeddings"].tokens)
        refused = refusal("embeddings", input=tokens)
    finally:
        sys.setprofile(None)
    assert refused is None
    assert calls["call"] + calls["c_call"] < 20_000


def form(*parts: str) -> FormBody:
    raw = "".join([f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts]) + "--b--\r\n"
    return FormBody(raw.encode(), b"multipart/form-data; boundary=b")


def check_form(name: str, *parts: str, strict: bool = False) -> None:
    dialect = BY_NAME[name]
    exchange = make_exchange(http_scope("POST", "/v1" + dialect.path, {}), time.monotonic, lambda: "id", dialect)
    exchange.body = form(*parts)
    RequestGuard(strict=strict).on_request(exchange)


MODEL = 'name="model"\r\n\r\nm'


def test_a_form_needs_its_file() -> None:
    with pytest.raises(GatewayError, match="file"):
        check_form("transcriptions", MODEL)
    check_form("transcriptions", MODEL, 'name="file"; filename="a.wav"\r\n\r\nx')
    check_form("transcriptions", MODEL, 'name="url"\r\n\r\nx')


@pytest.mark.parametrize("name", ["image_edits", "image_variations"])
def test_a_form_needs_its_picture_and_what_is_a_number_is_read_as_one(name: str) -> None:
    asked = (MODEL, 'name="prompt"\r\n\r\na hat') if name == "image_edits" else (MODEL,)
    picture = 'name="image"; filename="a.png"\r\n\r\nx'
    with pytest.raises(GatewayError, match="Missing required parameter: 'image'"):
        check_form(name, *asked)
    check_form(name, *asked, picture, 'name="n"\r\n\r\n2', strict=True)
    with pytest.raises(GatewayError, match="Invalid 'n'"):
        check_form(name, *asked, picture, 'name="n"\r\n\r\n0')


def test_the_numbers_of_a_form_of_pictures_are_judged_as_those_of_json() -> None:
    asked = (MODEL, 'name="prompt"\r\n\r\na hat', 'name="image[]"; filename="a.png"\r\n\r\nx')
    for field, good, bad in (("partial_images", 3, 4), ("output_compression", 100, 101)):
        check_form("image_edits", *asked, f'name="{field}"\r\n\r\n{good}', strict=True)
        with pytest.raises(GatewayError, match=f"Invalid '{field}': integer above maximum value"):
            check_form("image_edits", *asked, f'name="{field}"\r\n\r\n{bad}')
