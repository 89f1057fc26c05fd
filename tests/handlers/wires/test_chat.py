import json
from typing import Any

import pytest

from crplugins.handlers.wires.chat import CHAT_WIRE
from crplugins.testing.model import complete
from crplugins.testing.script import split_frames

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"properties": {"city": {"type": "string"}}}}}
    for name in ("get_weather", "get_time")
]


def chunks(request: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    frames = CHAT_WIRE.frames(complete(request), {}, **options)
    assert frames[-1] == b"data: [DONE]\n\n"
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames[:-1]]


def deltas(request: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks(request, **options)]


def shape(value: Any) -> Any:
    """Keys and null-ness of a chunk, in order; texts, numbers and the usage details aside."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key != "obfuscation"}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return None if value is None else type(value).__name__


def test_a_text_stream_has_the_chunks_of_openai() -> None:
    assert deltas(HELLO) == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "You"},
        {"content": " said:"},
        {"content": " Hi"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks(HELLO)] == [None] * 4 + ["stop"]
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in chunks(HELLO))
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks(HELLO)}) == 1


def test_no_usage_key_at_all_unless_asked() -> None:
    assert all("usage" not in chunk for chunk in chunks(HELLO))


def test_usage_stands_in_a_chunk_of_its_own_and_as_null_on_the_others() -> None:
    *others, last = chunks(HELLO, usage="own_chunk")
    assert [chunk["usage"] for chunk in others] == [None] * 5
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 8)


def test_usage_in_the_finish_chunk() -> None:
    *others, last = chunks(HELLO, usage="finish_chunk")
    assert all("usage" not in chunk for chunk in others)
    assert (last["choices"][0]["finish_reason"], last["usage"]["total_tokens"]) == ("stop", 8)


def test_a_single_tool_call_opens_in_the_first_chunk() -> None:
    first, *fragments, last = deltas({**HELLO, "tools": TOOLS[:1], "tool_choice": "required"})
    assert first["content"] is None
    assert first["refusal"] is None
    (opening,) = first["tool_calls"]
    assert (opening["index"], opening["type"], opening["function"]) == (
        0,
        "function",
        {"name": "get_weather", "arguments": ""},
    )
    assert all(set(delta["tool_calls"][0]) == {"index", "function"} for delta in fragments)
    joined = "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in fragments)
    assert (json.loads(joined), last) == ({"city": "some city"}, {})


def test_parallel_tool_calls_follow_a_chunk_with_the_role() -> None:
    messages = [{"role": "user", "content": "weather and time"}]
    request = {"model": "m", "messages": messages, "tools": TOOLS}
    first, *rest, _ = deltas(request)
    assert first == {"role": "assistant", "content": None}
    assert {delta["tool_calls"][0]["index"] for delta in rest} == {0, 1}
    assert chunks(request)[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_each_index_has_its_own_role_and_finish_and_they_interleave() -> None:
    choices = [chunk["choices"][0] for chunk in chunks({**HELLO, "n": 3})]
    assert [choice["index"] for choice in choices] == [0, 1, 2] * 5
    assert [choice["delta"].get("role") for choice in choices[:4]] == ["assistant"] * 3 + [None]
    assert [choice["finish_reason"] for choice in choices[-3:]] == ["stop"] * 3


def test_logprobs_of_each_token_where_asked() -> None:
    request = {**HELLO, "logprobs": True, "top_logprobs": 2}
    choices = [chunk["choices"][0] for chunk in chunks(request)]
    assert choices[0]["logprobs"] == {"content": [], "refusal": None}
    assert choices[-1]["logprobs"] is None
    (entry,) = choices[1]["logprobs"]["content"]
    assert (entry["token"], entry["bytes"], len(entry["top_logprobs"])) == ("You", [89, 111, 117], 2)
    full = CHAT_WIRE.whole(complete(request), {})["choices"][0]["logprobs"]["content"]
    assert [one["token"] for one in full] == ["You", " said:", " Hi"]


def test_deltas_of_a_given_length() -> None:
    assert [delta.get("content") for delta in deltas(HELLO, chunk_size=4)] == ["", "You ", "said", ": Hi", None]


def test_a_full_answer_has_all_required_keys() -> None:
    body = CHAT_WIRE.whole(complete(HELLO), {})
    assert body["object"] == "chat.completion"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "You said: Hi", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["completion_tokens"] == 3
    assert "usage" not in CHAT_WIRE.whole(complete(HELLO), {}, usage=False)


def test_custom_tools_and_deprecated_functions_have_their_own_keys() -> None:
    custom = {**HELLO, "tools": [{"type": "custom", "custom": {"name": "poet"}}], "tool_choice": "required"}
    (call,) = CHAT_WIRE.whole(complete(custom), {})["choices"][0]["message"]["tool_calls"]
    assert (call["type"], call["custom"]["name"]) == ("custom", "poet")
    legacy = {**HELLO, "functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}}
    assert CHAT_WIRE.whole(complete(legacy), {})["choices"][0]["message"]["function_call"] == {
        "name": "f",
        "arguments": "{}",
    }
    assert [delta.get("function_call") for delta in deltas(legacy)] == [
        {"name": "f", "arguments": ""},
        {"arguments": "{}"},
        None,
    ]


@pytest.mark.parametrize(
    ("recording", "request_"),
    [
        ("openai-gpt41-agno-text", HELLO),
        ("openai-tool-call", {**HELLO, "tools": TOOLS[:1], "tool_choice": "required"}),
    ],
)
def test_the_form_is_that_of_a_recorded_answer(cassettes, recording: str, request_: dict[str, Any]) -> None:
    recorded = [json.loads(frame[6:]) for frame in split_frames(cassettes[recording].data)[:-1]]
    ours = chunks(request_, usage="own_chunk")
    assert len({json.dumps(shape(chunk)) for chunk in ours}) == 4
    for position in (0, 1, -2, -1):
        assert json.dumps(shape(ours[position])) == json.dumps(shape(recorded[position]))
