"""What clients have to send back, both ways: signed thoughts, sources, and what Google hangs on a call."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from crplugins.handlers.litellm.extras import ThinkingBlocks, history_of, lacks_thinking
from crplugins.testing import FakeProvider, Script
from tests.litellm_setup import Told, asking

CLAUDE = "anthropic/claude-sonnet-4-5"
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "toolu_7", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
BLOCK = {"type": "thinking", "thinking": "Which city?", "signature": "c2lnbmVk"}


def events(chunks: Iterable[Mapping[str, Any]]) -> list[bytes]:
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def anthropic(*blocks: list[dict[str, Any]], stop: str = "tool_use") -> list[bytes]:
    """A stream of Anthropic's: for each block its start, and its deltas."""
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": []}
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "usage": {"input_tokens": 30, "output_tokens": 1}}}
    ]
    for index, (start, *deltas) in enumerate(blocks):
        told.append({"type": "content_block_start", "index": index, "content_block": start})
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", "index": index})
    told.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 20}})
    told.append({"type": "message_stop"})
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told]


def thought(text: str, signature: str) -> list[dict[str, Any]]:
    pieces = [{"type": "thinking_delta", "thinking": piece} for piece in (text[:3], text[3:])]
    start = {"type": "thinking", "thinking": "", "signature": ""}
    return [start, *pieces, {"type": "signature_delta", "signature": signature}]


USE = [
    {"type": "tool_use", "id": "toolu_7", "name": "clock", "input": {}},
    {"type": "input_json_delta", "partial_json": "{}"},
]


def blocks_in(told: Told) -> list[dict[str, Any]]:
    return [block for delta in told.deltas() for block in delta.get("thinking_blocks", ())]


async def test_each_thought_of_a_stream_arrives_whole_with_its_signature() -> None:
    redacted = [{"type": "redacted_thinking", "data": "cmVk"}]
    script = Script(events=anthropic(thought("Which city?", "c2lnbmVk"), redacted, thought("Oslo.", "b3Nsbw=="), USE))
    async with FakeProvider() as provider, asking(provider, CLAUDE) as asked:
        provider.enqueue(script)
        told = await asked.stream(tools=[TOOL], reasoning_effort="low")
    assert blocks_in(told) == [
        {"index": 0, **BLOCK},
        {"index": 1, "type": "redacted_thinking", "data": "cmVk"},
        {"index": 2, "type": "thinking", "thinking": "Oslo.", "signature": "b3Nsbw=="},
    ]
    assert told.said("reasoning_content") == "Which city?Oslo."
    assert told.finish_reasons() == ["tool_calls"]


async def test_what_a_stream_gave_can_be_sent_back_as_it_came() -> None:
    script = Script(events=anthropic(thought("Which city?", "c2lnbmVk"), USE))
    async with FakeProvider() as provider, asking(provider, CLAUDE) as asked:
        provider.enqueue(script)
        blocks = blocks_in(await asked.stream(tools=[TOOL], reasoning_effort="low"))
        provider.enqueue(Script(body=answer([{"type": "text", "text": "Noon."}])))
        first = {"role": "assistant", "content": None, "thinking_blocks": blocks, "tool_calls": [CALL]}
        await asked.plain(messages=loop(first), tools=[TOOL], reasoning_effort="low")
        sent = provider.requests[-1].json
    assert sent["messages"][1]["content"][0] == BLOCK
    assert sent["thinking"]["type"] == "enabled"


async def test_a_plain_answer_has_its_thinking_blocks() -> None:
    content = [BLOCK, {"type": "redacted_thinking", "data": "cmVk"}, {"type": "text", "text": "Noon."}]
    script = Script(body=answer(content))
    async with FakeProvider() as provider, asking(provider, CLAUDE) as asked:
        provider.enqueue(script)
        message = (await asked.plain(reasoning_effort="low"))["choices"][0]["message"]
    assert message["thinking_blocks"] == content[:2]


@pytest.mark.parametrize(
    "setting", [{"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}]
)
async def test_claude_does_not_think_on_where_a_client_has_not_kept_its_thoughts(setting: dict[str, Any]) -> None:
    earlier = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello.", "thinking_blocks": [BLOCK]},
    ]
    script = Script(body=answer([{"type": "text", "text": "Noon."}]))
    async with FakeProvider() as provider, asking(provider, CLAUDE) as asked:
        provider.enqueue(script)
        calling = {"role": "assistant", "content": None, "reasoning_content": "Which city?", "tool_calls": [CALL]}
        await asked.plain(messages=[*earlier, *loop(calling)], tools=[TOOL], **setting)
        sent = json.dumps(provider.requests[-1].json)
    assert '"thinking"' not in sent
    assert "c2lnbmVk" not in sent


def answer(content: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {"input_tokens": 30, "output_tokens": 20}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": content}
    return {**message, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


def loop(calling: dict[str, Any]) -> list[dict[str, Any]]:
    """A question, the call it led to, and its result."""
    result = {"role": "tool", "tool_call_id": "toolu_7", "content": "12:00"}
    return [{"role": "user", "content": "Time?"}, calling, result]


def test_only_the_turn_under_way_needs_its_thoughts() -> None:
    calling = {"role": "assistant", "tool_calls": [CALL]}
    assert lacks_thinking(loop(calling))
    assert not lacks_thinking(loop({**calling, "thinking_blocks": [BLOCK]}))
    assert not lacks_thinking(loop({**calling, "content": [BLOCK]}))
    assert not lacks_thinking([*loop({**calling, "thinking_blocks": [BLOCK]}), calling])
    assert not lacks_thinking([*loop(calling), {"role": "user", "content": "And in Lima?"}])
    assert lacks_thinking(loop({**calling, "thinking_blocks": [{"type": "thinking", "thinking": "unsigned"}]}))


def test_a_thought_that_no_provider_signed_is_not_given_out() -> None:
    assert ThinkingBlocks().whole([{"type": "thinking", "thinking": "hm"}]) == []


def test_odd_thinking_blocks_of_a_client_do_no_harm() -> None:
    for odd in ("text", 1, [1, "a"], {"a": 1}, [None]):
        history_of([{"role": "assistant", "thinking_blocks": odd}])
        lacks_thinking([{"role": "user"}, {"role": "assistant", "tool_calls": odd, "thinking_blocks": odd}])


@pytest.mark.parametrize("model", ["openai/m", "openrouter/m", "hosted_vllm/m"])
async def test_signed_reasoning_and_signatures_on_calls_pass(model: str) -> None:
    details = [{"type": "reasoning.encrypted", "data": "ZW5j", "index": 0}]
    call = {**CALL, "index": 0, "extra_content": {"google": {"thought_signature": "Z29vZ2xl"}}}
    message = {"role": "assistant", "content": None, "reasoning_details": details, "tool_calls": [call]}
    whole = {**chunk({}), "object": "chat.completion"}
    whole["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    async with FakeProvider() as provider, asking(provider, model) as asked:
        provider.default = Script(events=[*events([chunk(message), chunk({}, "tool_calls")]), b"data: [DONE]\n\n"])
        [first, *_] = (await asked.stream()).deltas()
        provider.default = Script(body=whole)
        plain = (await asked.plain())["choices"][0]["message"]
    for said in (first, plain):
        assert said["reasoning_details"] == details
        assert said["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "Z29vZ2xl"}}


@pytest.mark.parametrize("model", ["openai/m", "perplexity/m", "xai/m"])
async def test_sources_pass_once_and_again_when_they_grow(model: str) -> None:
    one, two = ["https://one.example"], ["https://one.example", "https://two.example"]
    chunks = [
        chunk({"content": "a"}, citations=one),
        chunk({"content": "b"}, citations=one),
        chunk({"content": "c"}, "stop"),
        {**chunk({}), "choices": [], "citations": two, "search_results": [{"url": "https://two.example"}]},
    ]
    script = Script(events=[*events(chunks), b"data: [DONE]\n\n"])
    async with FakeProvider(default=script) as provider, asking(provider, model) as asked:
        told = await asked.stream()
    assert [c.get("citations") for c in told.chunks] == [one, None, None, two]
    assert told.chunks[-1]["search_results"] == [{"url": "https://two.example"}]


async def test_sources_of_a_plain_answer_pass() -> None:
    message = {"role": "assistant", "content": "a", "annotations": [{"type": "url_citation", "url_citation": {}}]}
    whole = {**chunk({}), "object": "chat.completion", "citations": ["https://one.example"]}
    whole["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    async with FakeProvider(default=Script(body=whole)) as provider, asking(provider, "perplexity/m") as asked:
        document = await asked.plain()
    assert document["citations"] == ["https://one.example"]
    assert document["choices"][0]["message"]["annotations"] == message["annotations"]
