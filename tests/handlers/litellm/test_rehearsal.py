"""Which requests may be made without `acompletion`."""

import pytest

from crplugins.handlers.litellm.rehearsal import HARMLESS, Rehearsed
from crplugins.handlers.litellm.unchanged import are_texts

ALL = Rehearsed(frozenset({"temperature", "tools", "pictures"}), frozenset({"stream_options"}))
FEW = Rehearsed(frozenset({"temperature"}), frozenset())
HELLO = {"role": "user", "content": "hi"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "y"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def user(*parts):
    return {"role": "user", "content": list(parts)}


def text(value="look"):
    return {"type": "text", "text": value}


def picture(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


@pytest.mark.parametrize(
    ("messages", "arguments"),
    [
        ([HELLO], {}),
        ([{"role": "system", "content": "Be kind."}, HELLO], {"temperature": 1, "stream_options": {"include_usage": True}}),
        ([HELLO, CALL, RESULT], {"tools": [TOOL]}),
        ([user(text(), picture("data:image/png;base64,AA=="))], {}),
    ],
)  # fmt: skip
def test_a_request_of_kinds_that_were_the_same_takes_the_short_road(messages, arguments):
    assert ALL.allows(messages, arguments, texts=are_texts(messages))


@pytest.mark.parametrize(
    ("messages", "arguments"),
    [
        ([HELLO], {"reasoning_effort": "low"}),
        ([HELLO], {"tools": [{"type": "web_search"}]}),
        ([HELLO], {"tools": [TOOL | {"cache_control": {"type": "ephemeral"}}]}),
        ([HELLO], {"tools": "many"}),
        ([{"role": "developer", "content": "hi"}], {}),
        ([{"role": ["user"], "content": "hi"}], {}),
        ([{"content": "hi"}], {}),
        ([{**HELLO, "name": "ann"}], {}),
        ([{**CALL, "thinking_blocks": []}], {}),
        ([{"role": "user", "content": None}], {}),
        ([{"role": "user", "content": 7}], {}),
        ([user(text() | {"cache_control": {"type": "ephemeral"}})], {}),
        ([user({"type": "file", "file": {}})], {}),
        ([user(picture("http://169.254.169.254/latest"))], {}),
        ([user(picture("data:image/png;base64,AA==", format="image/png"))], {}),
        ([user({"type": "image_url", "image_url": "data:image/png;base64,AA=="})], {}),
        ([user("hi")], {}),
    ],
)  # fmt: skip
def test_any_other_request_is_litellms_own(messages, arguments):
    assert not ALL.allows(messages, arguments, texts=are_texts(messages))


@pytest.mark.parametrize("messages", [[HELLO, CALL, RESULT], [user(picture("data:image/png;base64,AA=="))]])
def test_what_differed_in_the_rehearsal_is_litellms_own(messages):
    assert not FEW.allows(messages, {}, texts=are_texts(messages))


@pytest.mark.parametrize("setting", ["custom_llm_provider", "mock_response", "ensure_alternating_roles", "caching", "fallbacks", "azure_ad_token", "aws_region_name", "prompt_id"])  # fmt: skip
def test_a_deployment_with_a_setting_that_litellm_acts_upon_is_not_rehearsed(setting):
    assert setting not in HARMLESS
