"""RequestGuard: the messages of a request."""

import pytest

from tests.plugins.guard.setup import bad_type, bad_value, check, empty, lacking, refusal, refused, too_long
from tests.schema.samples import CALL, CALLED, EVERYTHING, HI, RESULT

ROLES = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"
ORPHAN = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
ASSISTANT = {"role": "assistant", "content": "x"}


def called_with(**members: object) -> dict:
    return ASSISTANT | {"tool_calls": [CALL | members]}


def no_content(index: int) -> dict:
    return refused("Invalid value for 'content': expected a string, got null.", f"messages.[{index}].content", None)


REFUSED = [
    ("hi", bad_type("messages", "an array of objects", "a string")),
    (None, bad_type("messages", "an array of objects", "null")),
    ({}, bad_type("messages", "an array of objects", "an object")),
    ([], empty("messages", "array")),
    (["hi"], bad_type("messages[0]", "an object", "a string")),
    ([HI, None], bad_type("messages[1]", "an object", "null")),
    ([{"content": "x"}], lacking("messages[0].role")),
    ([HI, {"role": "bot"}], bad_value("messages[1].role", "bot", ROLES)),
    ([{"role": ""}], bad_value("messages[0].role", "", ROLES)),
    ([{"role": 1}], bad_type("messages[0].role", f"one of {ROLES.replace(', and', ', or')}", "an integer")),
    ([{"role": "user", "content": 7}],
     bad_type("messages[0].content", "one of a string or array of objects", "an integer")),
    ([{"role": "user", "content": {"type": "text", "text": "x"}}],
     bad_type("messages[0].content", "one of a string or array of objects", "an object")),
    ([{"role": "user", "content": ["x"]}], bad_type("messages[0].content[0]", "an object", "a string")),
    ([{"role": "user", "content": [{"text": "x"}]}], lacking("messages[0].content[0].type")),
    ([{"role": "user", "content": [{"type": 3}]}], bad_type("messages[0].content[0].type", "a string", "an integer")),
    ([{"role": "user", "content": [{"type": "text", "text": 5}]}],
     bad_type("messages[0].content[0].text", "a string", "an integer")),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}],
     bad_type("messages[0].content[0].image_url", "an object", "an integer")),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}],
     bad_type("messages[0].content[0].image_url.url", "a string", "an integer")),
    ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": 5}}]}],
     bad_type("messages[0].content[0].input_audio.data", "a string", "an integer")),
    ([{"role": "user", "content": "x", "name": 5}], bad_type("messages[0].name", "a string", "an integer")),
    ([HI, ASSISTANT | {"tool_calls": []}, HI], empty("messages[1].tool_calls", "array")),
    ([ASSISTANT | {"tool_calls": "x"}], bad_type("messages[0].tool_calls", "an array of objects", "a string")),
    ([ASSISTANT | {"content": 7, "tool_calls": []}],
     bad_type("messages[0].content", "one of a string or array of objects", "an integer")),
    ([called_with(type="x")], bad_value("messages[0].tool_calls[0].type", "x", "'function' and 'custom'")),
    ([called_with(id=5)], bad_type("messages[0].tool_calls[0].id", "a string", "an integer")),
    ([called_with(function={"name": "f", "arguments": {}})],
     bad_type("messages[0].tool_calls[0].function.arguments", "a string", "an object")),
    ([ASSISTANT | {"tool_calls": [{"id": "c", "function": CALL["function"]}]}],
     lacking("messages[0].tool_calls[0].type")),
    ([ASSISTANT | {"function_call": {"name": "f"}}], lacking("messages[0].function_call.arguments")),
    ([ASSISTANT | {"audio": {}}], lacking("messages[0].audio.id")),
    ([CALLED, {"role": "tool", "content": "x"}], lacking("messages[1].tool_call_id")),
    ([{"role": "function", "content": "x"}], lacking("messages[0].name")),
    ([HI, RESULT], refused(ORPHAN, "messages.[1].role", None)),
    ([HI, CALLED, RESULT, HI, RESULT], refused(ORPHAN, "messages.[4].role", None)),
    ([HI, ASSISTANT | {"tool_calls": None}, RESULT], refused(ORPHAN, "messages.[2].role", None)),
    ([HI | {"tool_calls": [CALL]}, RESULT], refused(ORPHAN, "messages.[1].role", None)),
    ([RESULT, {"role": "bot"}], bad_value("messages[1].role", "bot", ROLES)),
]  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("messages", "expected"), REFUSED)
def test_messages_openai_does_not_take_are_refused_in_its_words(messages, expected, strict):
    assert refusal(messages=messages, strict=strict) == expected


@pytest.mark.parametrize("part", [None, "text"])
def test_a_text_over_ten_million_characters_is_refused(part):
    text = "x" * 10_485_761
    content = [{"type": "text", "text": text}] if part else text
    path = "messages[0].content[0].text" if part else "messages[0].content"
    assert refusal(messages=[{"role": "user", "content": content}]) == too_long(path, "string", 10485760, 10485761)


def test_escapes_do_not_make_a_text_too_long():
    assert check({"model": "m", "messages": [{"role": "user", "content": "\n" * 6_000_000}]}) is None


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "messages",
    [
        EVERYTHING["messages"],
        [{"role": "user", "content": ""}, {"role": "user", "content": []}],
        [HI, CALLED, RESULT, RESULT, HI],
        [HI, {"role": "assistant", "tool_calls": [CALL]}, RESULT],
        [HI, {"role": "assistant", "content": "", "tool_calls": None, "refusal": None, "function_call": None,
              "audio": None, "name": None}],
        [{"role": "user", "content": "hi", "name": "u", "metadata": {}}],
        [HI, {"role": "assistant", "content": None, "refusal": "no"}],
    ],
)  # fmt: skip
def test_messages_openai_takes_pass(messages, strict):
    assert check({"model": "m", "messages": messages}, strict=strict) is None


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([HI, {"role": "user"}], no_content(1)),
        ([{"role": "user", "content": None}], no_content(0)),
        ([HI, ASSISTANT | {"content": None}], no_content(1)),
        ([HI, ASSISTANT | {"content": None, "tool_calls": None, "refusal": None}], no_content(1)),
        ([{"role": "user", "tool_calls": [CALL]}], no_content(0)),
        ([{"role": "function", "name": "f", "content": None}], no_content(0)),
        ([{"role": "user", "content": [{"type": "video_url", "video_url": {}}]}], bad_value(
            "messages[0].content[0].type", "video_url", "'text', 'image_url', 'input_audio', 'refusal', and 'file'")),
    ],
)  # fmt: skip
def test_only_a_strict_guard_refuses_what_another_provider_may_take(messages, expected):
    assert check({"model": "m", "messages": messages}) is None
    assert refusal(messages=messages, strict=True) == expected
