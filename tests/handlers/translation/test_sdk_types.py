"""What translated answers say, read as strictly as the types of OpenAI's and Anthropic's SDKs allow.

The SDKs themselves read leniently; others that are made of the same schemas (Java, Rust, zod) do not.
"""

import json
from typing import Any, Final

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from openai.types import Completion
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from crplugins.core.dialects import COMPLETIONS, MESSAGES, RESPONSES, Dialect
from crplugins.handlers.translation.translated import TRANSLATIONS

EVENTS: Final[dict[Dialect, list[TypeAdapter[Any]]]] = {
    RESPONSES: [TypeAdapter(ResponseStreamEvent)],
    MESSAGES: [TypeAdapter(RawMessageStreamEvent), TypeAdapter(BetaRawMessageStreamEvent)],
}
DOCUMENTS: Final[dict[Dialect, list[TypeAdapter[Any]]]] = {
    RESPONSES: [TypeAdapter(Response)],
    MESSAGES: [TypeAdapter(Message), TypeAdapter(BetaMessage)],
    COMPLETIONS: [TypeAdapter(Completion)],
}
SIGNED = {"type": "thinking", "thinking": "Hm", "signature": "sig"}
HIDDEN = {"type": "redacted_thinking", "data": "AAAA"}
CITED = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 2, "url": "https://a.example", "title": "A"},
}
FULL = {
    "prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 3},
}  # fmt: skip
BARE = {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
TOOLS: Final[dict[Dialect, list[dict[str, Any]]]] = {
    MESSAGES: [{"name": "get", "input_schema": {"type": "object"}}],
    RESPONSES: [
        {"type": "function", "name": "get"}, {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "n", "description": "", "tools": [{"type": "function", "name": "get"}]},
    ],
    COMPLETIONS: [],
}  # fmt: skip


def call(name: str, arguments: str) -> dict[str, Any]:
    return {"index": 0, "id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}


MESSAGES_SAID: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "words": ({"content": "Hello"}, "stop"),
    "nothing": ({"content": ""}, "stop"),
    "thoughts": ({"content": "Hello", "reasoning_content": "Hm"}, "stop"),
    "signed": ({"content": "Hello", "thinking_blocks": [SIGNED, HIDDEN]}, "stop"),
    "call": ({"content": "I ask.", "tool_calls": [call("get", '{"a":1}')]}, "tool_calls"),
    "custom": ({"tool_calls": [call("patch", '{"input":"x"}')]}, "tool_calls"),
    "namespace": ({"tool_calls": [call("n__get", "{}")]}, "tool_calls"),
    "refusal": ({"refusal": "No"}, "stop"),
    "cited": ({"content": "Hello", "annotations": [CITED]}, "stop"),
    "cut": ({"content": "Hel"}, "length"),
    "filtered": ({"content": "Hel"}, "content_filter"),
    "unknown": ({"content": "Hel"}, "FINISH_REASON_UNSPECIFIED"),
}


WHOLE = [
    pytest.param(dialect, said, id=f"{dialect.name}-{said}")
    for dialect in DOCUMENTS
    for said, (_, finish) in MESSAGES_SAID.items()
    if dialect is not COMPLETIONS or finish != "tool_calls"  # which have no tools
]


@pytest.mark.parametrize("usage", [FULL, BARE])
@pytest.mark.parametrize(("dialect", "said"), WHOLE)
def test_a_whole_answer_is_one_of_the_sdks(dialect: Dialect, said: str, usage: dict[str, Any]) -> None:
    message, finish = MESSAGES_SAID[said]
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
    written = TRANSLATIONS[dialect].writer(asked(dialect)).document({"model": "m", "choices": [choice], "usage": usage})
    for adapter in DOCUMENTS[dialect]:
        adapter.validate_json(written)


@pytest.mark.parametrize("usage", [FULL, BARE])
@pytest.mark.parametrize("said", MESSAGES_SAID)
@pytest.mark.parametrize("dialect", [RESPONSES, MESSAGES])
def test_each_event_of_a_stream_is_one_of_the_sdks(dialect: Dialect, said: str, usage: dict[str, Any]) -> None:
    message, finish = MESSAGES_SAID[said]
    writer = TRANSLATIONS[dialect].writer(asked(dialect))
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {name: value}}]} for name, value in message.items()
    ]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, {"choices": [], "usage": usage}]
    events = [event for chunk in chunks for event in writer.events({"model": "m", **chunk})] + writer.end()
    assert len(events) >= 3
    for event in events:
        assert event.data is not None
        assert json.loads(event.data)["type"] == event.name.decode()
        for adapter in EVENTS[dialect]:
            adapter.validate_json(event.data)


def asked(dialect: Dialect) -> dict[str, Any]:
    return {"model": "m", "tools": TOOLS[dialect], "include": ["reasoning.encrypted_content"]}
