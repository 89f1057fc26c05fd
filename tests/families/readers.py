"""What a client reads of an answer in Messages and in Responses, as strictly as their SDKs: in the words of `Seen`."""

import json
from collections.abc import Iterator
from typing import Any

from tests.families.client import Seen
from tests.families.client import read_answer as read_chat

_STOPS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}


def read_answer(dialect: str, status: int, body: bytes, *, streamed: bool) -> Seen:
    if dialect == "chat":
        return read_chat(status, body, streamed=streamed)
    seen = Seen(status)
    if status != 200:
        seen.error = json.loads(body)["error"]
    elif dialect == "messages":
        _Messages(seen).read(body, streamed=streamed)
    else:
        _Responses(seen).read(body, streamed=streamed)
    return seen


def _events(body: bytes, seen: Seen) -> Iterator[dict[str, Any]]:
    *events, rest = body.split(b"\n\n")
    if rest:
        seen.problems.append(f"half an event: {rest[:60]!r}")
    for event in events:
        if event.startswith(b":"):
            continue
        name, _, data = event.removeprefix(b"event: ").partition(b"\ndata: ")
        told = json.loads(data)
        if told["type"] != name.decode():
            seen.problems.append(f"an event named {name!r} of the type {told['type']}")
        if seen.done:
            seen.problems.append(f"an event behind the end: {data[:60]!r}")
        yield told


def _call(seen: Seen, id_: str, name: str, arguments: str) -> None:
    seen.ids.append(id_)
    seen.names.append(name)
    seen.arguments.append(arguments)


class _Messages:
    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._message: dict[str, Any] = {}
        self._open: dict[str, Any] | None = None

    def read(self, body: bytes, *, streamed: bool) -> None:
        if not streamed:
            self._whole(json.loads(body))
            return
        for event in _events(body, self._seen):
            getattr(self, f"_{event['type']}")(event)
        self._seen.done = self._seen.done or self._seen.error is not None
        blocks = self._message.get("content", []) + ([] if self._open is None else [self._open])
        self._read_blocks(blocks)

    def _whole(self, message: dict[str, Any]) -> None:
        self._read_blocks(message["content"])
        self._end(message["stop_reason"], message["usage"])

    def _read_blocks(self, blocks: list[dict[str, Any]]) -> None:
        for block in blocks:
            if block["type"] == "text":
                self._seen.text += block["text"]
            elif block["type"] == "thinking":
                self._seen.reasoning += block["thinking"]
            elif block["type"] == "tool_use":
                arguments = block.get("json") or json.dumps(block["input"])
                _call(self._seen, block["id"], block["name"], arguments)

    def _end(self, reason: str, usage: dict[str, int]) -> None:
        self._seen.finishes.append(_STOPS[reason])
        prompt = usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
        self._seen.usages.append({"prompt_tokens": prompt, "completion_tokens": usage["output_tokens"]})

    def _message_start(self, event: dict[str, Any]) -> None:
        if self._message:
            self._seen.problems.append("a second beginning")
        self._message = event["message"]

    def _content_block_start(self, event: dict[str, Any]) -> None:
        if self._open is not None or event["index"] != len(self._message["content"]):
            self._seen.problems.append(f"block {event['index']} begins out of turn")
        self._open = event["content_block"]

    def _content_block_delta(self, event: dict[str, Any]) -> None:
        if self._open is None or event["index"] != len(self._message["content"]):
            self._seen.problems.append(f"a piece of block {event['index']} out of turn")
            return
        delta = event["delta"]
        match delta["type"]:
            case "text_delta":
                self._open["text"] += delta["text"]
            case "thinking_delta":
                self._open["thinking"] += delta["thinking"]
            case "signature_delta":
                self._open["signature"] = delta["signature"]
            case "input_json_delta":
                self._open["json"] = self._open.get("json", "") + delta["partial_json"]

    def _content_block_stop(self, event: dict[str, Any]) -> None:
        if self._open is None or event["index"] != len(self._message["content"]):
            self._seen.problems.append(f"block {event['index']} ends out of turn")
            return
        self._message["content"].append(self._open)
        self._open = None

    def _message_delta(self, event: dict[str, Any]) -> None:
        if self._open is not None:
            self._seen.problems.append("the message ends in a block")
        self._end(event["delta"]["stop_reason"], event["usage"])

    def _message_stop(self, event: dict[str, Any]) -> None:
        self._seen.done = True

    def _error(self, event: dict[str, Any]) -> None:
        self._seen.error = event["error"]


class _Responses:
    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._items: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._number = 0
        self._pieces = ""

    def read(self, body: bytes, *, streamed: bool) -> None:
        if not streamed:
            self._whole(json.loads(body))
            return
        for event in _events(body, self._seen):
            self._see(event)
        if self._seen.error is not None:
            self._seen.done = True
            self._read_items([*self._items, *([] if self._open is None else [self._open])])

    def _see(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "error":
            self._seen.error = event
            return
        if event["sequence_number"] != self._number:
            self._seen.problems.append(f"number {event['sequence_number']}, not {self._number}")
        self._number += 1
        if kind in ("response.completed", "response.incomplete"):
            self._seen.done = True
            self._whole(event["response"])
        elif kind == "response.output_item.added":
            if self._open is not None or event["output_index"] != len(self._items):
                self._seen.problems.append(f"item {event['output_index']} begins out of turn")
            self._open, self._pieces = event["item"], ""
        elif kind == "response.output_item.done":
            self._done(event["item"])
        elif kind.endswith(".delta"):
            self._pieces += event["delta"]
            self._piece(kind, event["delta"])

    def _piece(self, kind: str, piece: str) -> None:
        assert self._open is not None
        if kind == "response.output_text.delta":
            parts = self._open["content"] or [{"type": "output_text", "text": ""}]
            parts[0]["text"] += piece
            self._open["content"] = parts
        elif kind == "response.reasoning_summary_text.delta":
            parts = self._open["summary"] or [{"type": "summary_text", "text": ""}]
            parts[0]["text"] += piece
            self._open["summary"] = parts
        elif kind == "response.function_call_arguments.delta":
            self._open["arguments"] += piece

    def _done(self, item: dict[str, Any]) -> None:
        assert self._open is not None
        said = _text_of(item)
        if item["id"] != self._open["id"] or said != (self._pieces or ("{}" if "arguments" in item else "")):
            self._seen.problems.append(f"item {item} does not say what its pieces said: {self._pieces!r}")
        self._items.append(item)
        self._open = None

    def _whole(self, response: dict[str, Any]) -> None:
        if self._items and [_text_of(item) for item in self._items] != [_text_of(item) for item in response["output"]]:
            self._seen.problems.append("the whole is not the sum of its items")
        self._read_items(response["output"])
        called = bool(self._seen.names)
        reason = (response["incomplete_details"] or {}).get("reason")
        self._seen.finishes.append(
            {"max_output_tokens": "length", None: "tool_calls" if called else "stop"}.get(reason, reason)
        )
        usage = response["usage"]
        self._seen.usages.append({"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]})

    def _read_items(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            if item["type"] == "message":
                self._seen.text += _text_of(item)
            elif item["type"] == "reasoning":
                self._seen.reasoning += _text_of(item)
            elif item["type"] == "function_call":
                _call(self._seen, item["call_id"], item["name"], item["arguments"])


def _text_of(item: dict[str, Any]) -> str:
    parts = item.get("content") or item.get("summary") or []
    return item["arguments"] if "arguments" in item else "".join(part.get("text", "") for part in parts)
