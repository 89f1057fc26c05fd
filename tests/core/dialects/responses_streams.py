"""Streams of Responses made by hand after OpenAI's documentation, one for each shape of an answer.

Each is a list of events without their numbers, which `numbered` adds. What a client reads in each is in `SHAPES`.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

WORDS = "The quick brown fox."
USED = {
    "input_tokens": 70,
    "input_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 0},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 120,
}

Wire = dict[str, Any]


class Shape(NamedTuple):
    """What the events between `response.in_progress` and the last one tell, and what is in the response at its end.

    Attributes:
        said: the texts of it, as the model has written them; joined.
        searches: of the web, that are paid for.
    """

    events: list[Wire]
    output: list[Wire]
    said: str
    searches: int = 0
    reason: str = "stop"


def in_two(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def told(stem: str, text: str, name: str, index: int = 0, **at: Any) -> Iterator[Wire]:
    """Two deltas, and the whole of it."""
    place = {"item_id": f"item_{index}", "output_index": index, **at}
    for piece in in_two(text):
        yield {"type": f"{stem}.delta", **place, "delta": piece}
    yield {"type": f"{stem}.done", **place, name: text}


def item(index: int, unsaid: Wire, whole: Wire, events: Iterable[Wire] = ()) -> list[Wire]:
    return [
        {"type": "response.output_item.added", "output_index": index, "item": {**whole, **unsaid}},
        *events,
        {"type": "response.output_item.done", "output_index": index, "item": whole},
    ]


def message(text: str = WORDS, index: int = 0, **part: Any) -> tuple[list[Wire], Wire]:
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **part}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [content]}
    at = {"item_id": "msg_1", "output_index": index, "content_index": 0}
    events = [
        {"type": "response.content_part.added", **at, "part": {**content, "text": "", "annotations": []}},
        *told("response.output_text", text, "text", index, content_index=0, logprobs=[]),
        *(
            {"type": "response.output_text.annotation.added", **at, "annotation_index": number, "annotation": note}
            for number, note in enumerate(content["annotations"])
        ),
        {"type": "response.content_part.done", **at, "part": content},
    ]
    return item(index, {"content": [], "status": "in_progress"}, whole, events), whole


def calling(kind: str, stem: str, member: str, text: str, index: int = 0, **more: Any) -> tuple[list[Wire], Wire]:
    whole = {"id": f"item_{index}", "type": kind, "status": "completed", member: text, **more}
    return item(index, {member: "", "status": "in_progress"}, whole, told(stem, text, member, index)), whole


def hosted(index: int, whole: Wire, *steps: str, unsaid: Wire | None = None) -> tuple[list[Wire], Wire]:
    """A tool that the provider runs, with the events that say how far it is."""
    stem = "response." + whole["type"]
    events = [{"type": f"{stem}.{step}", "output_index": index, "item_id": "item"} for step in steps]
    return item(index, {"status": "in_progress", **(unsaid or {})}, whole, events), whole


def joined(*parts: tuple[list[Wire], Wire], said: str, **more: Any) -> Shape:
    return Shape([event for events, _ in parts for event in events], [whole for _, whole in parts], said, **more)


def refusal() -> tuple[list[Wire], Wire]:
    part = {"type": "refusal", "refusal": WORDS}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return item(0, {"content": []}, whole, told("response.refusal", WORDS, "refusal", content_index=0)), whole


def reasoning(*, summary: str = "", text: str = "") -> tuple[list[Wire], Wire]:
    whole: Wire = {"id": "rs_1", "type": "reasoning", "summary": []}
    events: list[Wire] = []
    if summary:
        whole["summary"] = [{"type": "summary_text", "text": summary}]
        at = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
        events = [
            {"type": "response.reasoning_summary_part.added", **at, "part": {"type": "summary_text", "text": ""}},
            *told("response.reasoning_summary_text", summary, "text", summary_index=0),
            {"type": "response.reasoning_summary_part.done", **at, "part": whole["summary"][0]},
        ]
    if text:
        whole["content"] = [{"type": "reasoning_text", "text": text}]
        events += told("response.reasoning_text", text, "text", content_index=0)
    return item(0, {"summary": [], "content": []}, whole, events), whole


ARGUMENTS = '{"city":"Paris","unit":"celsius"}'
CITED = {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://a.test", "title": "A"}


def search(index: int, action: Wire) -> tuple[list[Wire], Wire]:
    whole = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": action}
    return hosted(index, whole, "in_progress", "searching", "completed", unsaid={"action": {"type": "search"}})


SHELL = {
    "id": "sh_1", "type": "shell_call", "call_id": "call_1", "status": "completed",
    "action": {"commands": ["ls -la /tmp"], "timeout_ms": 1000},
}  # fmt: skip
HOSTED_SHELL = SHELL | {"environment": {"type": "container_reference", "container_id": "c"}}
PATCH = {
    "id": "ap_1", "type": "apply_patch_call", "call_id": "call_1", "status": "completed",
    "operation": {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b\n"},
}  # fmt: skip
COMPUTER = {
    "id": "cu_1", "type": "computer_call", "call_id": "call_1", "status": "completed", "pending_safety_checks": [],
    "action": {"type": "type", "text": "hello world"},
}  # fmt: skip
LOCAL_SHELL = {
    "id": "ls_1", "type": "local_shell_call", "call_id": "call_1", "status": "completed",
    "action": {"type": "exec", "command": ["ls", "-la"], "env": {}},
}  # fmt: skip
IMAGE = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "aGVsbG8="}
FILES = {"id": "fs_1", "type": "file_search_call", "status": "completed", "queries": ["brown fox"], "results": None}
TOOLS = {"id": "ml_1", "type": "mcp_list_tools", "server_label": "s", "tools": []}
APPROVAL = {"id": "ma_1", "type": "mcp_approval_request", "name": "drop", "server_label": "s", "arguments": ARGUMENTS}


def with_picture() -> tuple[list[Wire], Wire]:
    events, whole = hosted(0, IMAGE, "in_progress", "generating", "completed", unsaid={"result": None})
    partial = {"type": "response.image_generation_call.partial_image", "output_index": 0, "item_id": "ig_1"}
    events.insert(3, {**partial, "partial_image_index": 0, "partial_image_b64": "aGVsbG8="})
    return events, whole


def shell(whole: Wire) -> tuple[list[Wire], Wire]:
    at = {"output_index": 0, "command_index": 0}
    command = whole["action"]["commands"][0]
    events: list[Wire] = [
        {"type": "response.shell_call_command.added", **at, "command": ""},
        *told("response.shell_call_command", command, "command", command_index=0),
    ]
    if whole is HOSTED_SHELL:
        out = {"type": "response.shell_call_output_content.delta", **at, "item_id": "sh_2"}
        events.append({**out, "delta": {"stdout": "a long list of files " * 50}})
    return item(0, {"action": {"commands": []}, "status": "in_progress"}, whole, events), whole


def audio() -> tuple[list[Wire], Wire]:
    events, whole = message("")
    events[1:1] = [{"type": "response.audio.delta", "delta": "AAAA" * 10_000}, {"type": "response.audio.done"}]
    events[1:1] = [
        {"type": "response.audio.transcript.delta", "delta": WORDS},
        {"type": "response.audio.transcript.done"},
    ]
    return events, whole


CODE = "print(sum(range(10)))"
SHAPES = {
    "text": joined(message(), said=WORDS),
    "refusal": joined(refusal(), said=WORDS),
    "reasoning summary": joined(reasoning(summary="I think."), message(index=1), said="I think." + WORDS),
    "reasoning text": joined(reasoning(text="I think."), message(index=1), said="I think." + WORDS),
    "hidden reasoning": joined(reasoning(), message(index=1), said=WORDS),
    "function call": joined(
        calling("function_call", "response.function_call_arguments", "arguments", ARGUMENTS, call_id="c", name="get"),
        said="get" + ARGUMENTS, reason="tool_calls",
    ),
    "two function calls": joined(
        *(
            calling("function_call", "response.function_call_arguments", "arguments", ARGUMENTS, n, call_id="c", name="get")
            for n in range(2)
        ), said=2 * ("get" + ARGUMENTS), reason="tool_calls",
    ),
    "custom tool": joined(
        calling("custom_tool_call", "response.custom_tool_call_input", "input", "ls -la", call_id="c", name="exec"),
        said="exec" + "ls -la", reason="tool_calls",
    ),
    "mcp call": joined(
        hosted(0, TOOLS, "in_progress", "completed"),
        calling("mcp_call", "response.mcp_call_arguments", "arguments", ARGUMENTS, 1, name="roll", server_label="s"),
        message(index=2), said="roll" + ARGUMENTS + WORDS,
    ),
    "mcp approval": joined((item(0, {}, APPROVAL), APPROVAL), said="drop" + ARGUMENTS, reason="tool_calls"),
    "code interpreter": joined(
        calling("code_interpreter_call", "response.code_interpreter_call_code", "code", CODE, container_id="c"),
        message(index=1), said="code_interpreter" + CODE + WORDS,
    ),
    "computer": joined((item(0, {"status": "in_progress", "action": None}, COMPUTER), COMPUTER),
                       said="computer" + "type\nhello world", reason="tool_calls"),
    "shell": joined(shell(SHELL), said="shell" + "ls -la /tmp", reason="tool_calls"),
    "hosted shell": joined(shell(HOSTED_SHELL), message(index=1), said="shell" + "ls -la /tmp" + WORDS),
    "local shell": joined((item(0, {"action": {"command": []}}, LOCAL_SHELL), LOCAL_SHELL),
                          said="local_shell" + "exec\nls\n-la", reason="tool_calls"),
    "apply patch": joined((item(0, {"operation": None}, PATCH), PATCH),
                          said="apply_patch" + "update_file\na.py\n@@\n-a\n+b\n", reason="tool_calls"),
    "web search": joined(
        search(0, {"type": "search", "query": "fox"}), search(1, {"type": "open_page", "url": "https://a.test"}),
        search(2, {"type": "search", "query": "dog"}), message(index=3, annotations=[CITED]),
        said="web_search" * 3 + "search\nfox" + "open_page\nhttps://a.test" + "search\ndog" + WORDS, searches=2,
    ),
    "file search": joined(hosted(0, FILES, "in_progress", "searching", "completed", unsaid={"queries": []}),
                          message(index=1), said="file_search" + "brown fox" + WORDS),
    "picture": joined(with_picture(), message(index=1), said="image_generation" + WORDS),
    "audio": joined(audio(), said=WORDS),
}  # fmt: skip
"""Every kind of item that OpenAI documents, and every event of each."""


def response(output: list[Wire], status: str = "completed", **more: Any) -> Wire:
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "m", "output": output,
        "error": None, "incomplete_details": None, "tools": [], "parallel_tool_calls": True, "tool_choice": "auto",
        "service_tier": "default", "previous_response_id": None, "usage": USED if status != "in_progress" else None,
        **more,
    }  # fmt: skip


def numbered(events: Iterable[Wire]) -> list[Wire]:
    return [{"type": event["type"], "sequence_number": number, **event} for number, event in enumerate(events)]


def whole_stream(shape: Shape, last: Wire | None = None) -> list[Wire]:
    begun = response([], "in_progress")
    end = last or {"type": "response.completed", "response": response(shape.output)}
    starts = [{"type": f"response.{name}", "response": begun} for name in ("created", "in_progress")]
    return numbered([*starts, *shape.events, end])


def frames(events: Iterable[Wire], *, named: bool = True, typed: bool = True) -> bytes:
    """The bytes. Not `typed`: the type stands beside the data alone; not `named`: in it alone."""
    pieces = []
    for event in events:
        data = event if typed else {key: value for key, value in event.items() if key != "type"}
        name = f"event: {event['type']}\n" if named else ""
        pieces.append(f"{name}data: {json.dumps(data)}\n\n".encode())
    return b"".join(pieces)
