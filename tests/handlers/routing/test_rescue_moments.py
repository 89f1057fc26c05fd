"""At which moments of an answer in Messages or Responses a stream that breaks goes on, and at which it cannot."""

import json
from typing import Any

import pytest

from crplugins.testing import Script
from tests.handlers.routing.books import usage
from tests.handlers.routing.test_rescue_protocols import Seen, ask, is_one_answer, served

ROAD = ("native", "native")
NEXT = Script(text=" and the rest", usage_object=usage(60, 4))
SILENT = Script(text="", usage_object=usage(60, 1))


def told(**event: Any) -> bytes:
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + json.dumps(event).encode() + b"\n\n"


MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "x",
    "content": [],
    "stop_reason": None,
}
START = told(type="message_start", message=MESSAGE | {"usage": {"input_tokens": 9, "output_tokens": 1}})
PING = told(type="ping")


def block(index: int, begun: dict[str, Any], *deltas: dict[str, Any], stopped: bool = True) -> list[bytes]:
    events = [told(type="content_block_start", index=index, content_block=begun)]
    events += [told(type="content_block_delta", index=index, delta=delta) for delta in deltas]
    return [*events, told(type="content_block_stop", index=index)] if stopped else events


def text(index: int, *texts: str, stopped: bool = True) -> list[bytes]:
    deltas = [{"type": "text_delta", "text": each} for each in texts]
    return block(index, {"type": "text", "text": ""}, *deltas, stopped=stopped)


def thought(*, stopped: bool = True) -> list[bytes]:
    deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": "Hm."}]
    if stopped:
        deltas.append({"type": "signature_delta", "signature": "c2ln"})
    return block(0, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, stopped=stopped)


SEARCH = block(0, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}})
FOUND = block(1, {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []})
CALL = block(1, {"type": "tool_use", "id": "t1", "name": "look", "input": {}}, stopped=False)

MESSAGES = {
    "in the middle of a text": ([START, PING, *text(0, "So", " far", stopped=False)], ["So far and the rest"]),
    "behind a text": ([START, *text(0, "So", " far")], ["So far", " and the rest"]),
    "in a second text": ([START, *text(0, "So"), *text(1, " far", stopped=False)], ["So", " far and the rest"]),
    "behind a thought": ([START, *thought()], ["", " and the rest"]),
    "in a text behind a thought": ([START, *thought(), *text(1, "So far", stopped=False)], ["", "So far and the rest"]),
    "in a call behind a text": ([START, *text(0, "So far"), *CALL], ["So far", " and the rest"]),
    "at the beginning of a text": ([START, *thought(), *text(1, stopped=False)], ["", " and the rest"]),
}
NOT_IN_MESSAGES = {
    "in a thought": [START, *thought(stopped=False)],
    "behind a search of the web": [START, *SEARCH, *FOUND, *text(2, "So far", stopped=False)],
    "with a block that is not known": [START, *block(0, {"type": "novelty"}), *text(1, "So far", stopped=False)],
}


async def broken(serve: Any, protocol: str, events: list[bytes], following: Script = NEXT, **more: Any) -> Seen:
    async with served(serve, ROAD, "continue") as kept:
        kept.providers[0].default = Script(events=events, close_after=len(events))
        kept.providers[1].default = following
        seen = await ask(kept, protocol, **more)
        assert kept.record.attempts == len(kept.calls) - kept.calls.count(0)
        return seen


@pytest.mark.parametrize("moment", MESSAGES)
async def test_a_message_goes_on(serve: Any, moment: str) -> None:
    events, texts = MESSAGES[moment]
    seen = await broken(serve, "messages", events)
    is_one_answer(seen, "messages", "".join(texts))
    assert [getattr(each, "text", "") for each in seen.answer.content] == texts
    assert [getattr(each, "signature", None) for each in seen.answer.content if each.type == "thinking"] in (
        [],
        ["c2ln"],
    )


@pytest.mark.parametrize("moment", NOT_IN_MESSAGES)
async def test_a_message_does_not_go_on(serve: Any, moment: str) -> None:
    seen = await broken(serve, "messages", NOT_IN_MESSAGES[moment])
    assert seen.error is not None
    assert " and the rest" not in seen.text


async def test_a_message_whose_rest_is_nothing_ends(serve: Any) -> None:
    seen = await broken(serve, "messages", [START, *text(0, "All said", stopped=False)], SILENT)
    is_one_answer(seen, "messages", "All said")


RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "in_progress", "model": "x", "output": [],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "instructions": "Be brief.", "store": False,
}  # fmt: skip
CREATED = [{"type": "response.created", "response": RESPONSE}, {"type": "response.in_progress", "response": RESPONSE}]
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def item(index: int, said: dict[str, Any], *, done: bool = False) -> dict[str, Any]:
    return {"type": f"response.output_item.{'done' if done else 'added'}", "output_index": index, "item": said}


def of_text(index: int, kind: str, **more: Any) -> dict[str, Any]:
    place = {"item_id": f"msg_{index + 1}", "output_index": index, "content_index": 0}
    return {"type": f"response.{kind}", **place, **more}


def message(index: int, *texts: str, until: str = "delta") -> list[dict[str, Any]]:
    """The events of a message, until one of this kind."""
    whole = "".join(texts)
    said = ITEM | {"id": f"msg_{index + 1}"}
    part = PART | {"text": whole}
    events = [item(index, said), of_text(index, "content_part.added", part=PART)]
    events += [of_text(index, "output_text.delta", delta=each, logprobs=[]) for each in texts]
    if until == "delta":
        return events
    events += [of_text(index, "output_text.done", text=whole, logprobs=[])]
    if until == "text":
        return events
    done = said | {"status": "completed", "content": [part]}
    return [*events, of_text(index, "content_part.done", part=part), item(index, done, done=True)]


REASONING = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "sealed"}
SEARCHED = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}
NOTE = {"type": "url_citation", "url": "https://example.com", "title": "t", "start_index": 0, "end_index": 2}

RESPONSES = {
    "in the middle of a text": ([*message(0, "So", " far")], "So far and the rest", ["message"]),
    "behind a text": ([*message(0, "So", " far", until="item")], "So far and the rest", ["message", "message"]),
    "behind thoughts": (
        [item(0, REASONING), item(0, REASONING, done=True), *message(1, "So far")],
        "So far and the rest",
        ["reasoning", "message"],
    ),
    "in a call behind a text": (
        [
            *message(0, "So far", until="item"),
            item(1, {"id": "fc_1", "type": "function_call", "name": "look", "call_id": "c1", "arguments": ""}),
            {"type": "response.function_call_arguments.delta", "output_index": 1, "item_id": "fc_1", "delta": '{"pl'},
        ],
        "So far and the rest",
        ["message", "message"],
    ),
}
NOT_IN_RESPONSES = {
    "between the end of a text and that of its item": message(0, "So far", until="text"),
    "in a thought": [
        item(0, REASONING),
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Hm"},
    ],
    "behind a search of the web": [item(0, SEARCHED), item(0, SEARCHED, done=True), *message(1, "So far")],
    "in a refusal": [
        item(0, ITEM),
        of_text(0, "content_part.added", part={"type": "refusal", "refusal": ""}),
        of_text(0, "refusal.delta", delta="No"),
    ],
}


def numbered(events: list[dict[str, Any]]) -> list[bytes]:
    return [told(**event, sequence_number=number) for number, event in enumerate([*CREATED, *events])]


@pytest.mark.parametrize("moment", RESPONSES)
async def test_a_response_goes_on(serve: Any, moment: str) -> None:
    events, whole, kinds = RESPONSES[moment]
    seen = await broken(serve, "responses", numbered(events))
    if kinds.count("message") == 1:
        is_one_answer(seen, "responses", whole)
    assert (seen.answer.output_text, seen.answer.status, seen.answer.instructions) == (whole, "completed", "Be brief.")
    assert [each.type for each in seen.answer.output] == kinds
    assert [event.sequence_number for event in seen.events] == [*range(len(seen.events))]
    if kinds[0] == "reasoning":
        assert seen.answer.output[0].encrypted_content == "sealed"


@pytest.mark.parametrize("moment", NOT_IN_RESPONSES)
async def test_a_response_does_not_go_on(serve: Any, moment: str) -> None:
    seen = await broken(serve, "responses", numbered(NOT_IN_RESPONSES[moment]))
    assert seen.error is not None
    assert " and the rest" not in seen.text


async def test_a_response_whose_rest_is_nothing_ends_and_keeps_what_its_text_cites(serve: Any) -> None:
    note = of_text(0, "output_text.annotation.added", annotation_index=0, annotation=NOTE)
    seen = await broken(serve, "responses", numbered([*message(0, "All said"), note]), SILENT)
    is_one_answer(seen, "responses", "All said")
    assert [each.url for each in seen.answer.output[0].content[0].annotations] == ["https://example.com"]


@pytest.mark.parametrize(
    ("protocol", "more"),
    [
        ("responses", {"text": {"format": {"type": "json_object"}}}),
        ("completions", {"n": 2}),
        ("completions", {"echo": True}),
        ("completions", {"logprobs": 1}),
        ("completions", {"prompt": ["a", "b"]}),
        ("messages", {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "So"}]}),
    ],
    ids=str,
)
async def test_what_an_answer_of_two_parts_would_not_do_is_not_continued(
    serve: Any, protocol: str, more: dict[str, Any]
) -> None:
    async with served(serve, ROAD, "continue") as kept:
        kept.providers[0].default = Script(text="So far, so good, so well", chunk_size=4, close_after=6)
        kept.providers[1].default = NEXT
        seen = await ask(kept, protocol, **more)
        assert seen.error is not None
        assert kept.calls[1] == 0
