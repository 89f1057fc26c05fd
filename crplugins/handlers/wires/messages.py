"""The form of Messages (Anthropic, "Create a Message"): blocks, and a stream of events about them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from crplugins.core.dialects.dialect import typed_frame
from crplugins.handlers.wires.completion import Completion, ModelChoice, ToolCall, grouped, pieces
from crplugins.handlers.wires.wire import UsagePlace, Wire, part_as_chat, parts_as_chat

_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

_TYPES: Final = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error",
}  # fmt: skip

_SIGNATURE: Final = "c2lnbmVkIGJ5IG5vYm9keQ=="


class MessagesWire(Wire):
    """`POST /v1/messages`."""

    path = "/messages"
    id_prefix = "msg_"
    id_header = "request-id"
    requires: Sequence[str] = ("max_tokens", "messages")

    def as_chat(self, request: Mapping[str, Any]) -> dict[str, Any]:
        asked: dict[str, Any] = {"model": request["model"], "messages": list(_messages(request))}
        tools = [_tool(tool) for tool in request.get("tools") or () if "input_schema" in tool]
        asked |= {"tools": tools} if tools else {}
        choice = request.get("tool_choice") or {}
        if choice:
            asked["tool_choice"] = {"function": choice} if choice.get("type") == "tool" else choice.get("type", "auto")
            asked |= {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
        kept = {"max_tokens": request.get("max_tokens"), "stop": request.get("stop_sequences")}
        return {**asked, **{name: value for name, value in kept.items() if value is not None}}

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        choice = completion.choices[0]
        blocks = [_block(kind, said) for kind, said in _blocks(choice)]
        message = _message(completion, blocks, _REASONS.get(choice.finish_reason, choice.finish_reason))
        return {**message, "usage": _usage(completion.usage)} if usage else message

    def frames(
        self,
        completion: Completion,
        request: Mapping[str, Any],
        *,
        usage: UsagePlace = "own_chunk",
        chunk_size: int | None = None,
    ) -> list[bytes]:
        told = _usage(completion.usage) if usage != "none" else {}
        begun = {"usage": {**told, "output_tokens": 1}} if told else {}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**_message(completion, [], None), **begun}}
        ]
        choice = completion.choices[0]
        for index, (kind, said) in enumerate(_blocks(choice)):
            events.append({"type": "content_block_start", "index": index, "content_block": _opened(kind, said)})
            events += [{"type": "ping"}] if index == 0 else []
            for delta in _deltas(kind, said, chunk_size):
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
            events.append({"type": "content_block_stop", "index": index})
        ended = {"stop_reason": _REASONS.get(choice.finish_reason, choice.finish_reason), "stop_sequence": None}
        events.append({"type": "message_delta", "delta": ended, **({"usage": _counts(told)} if told else {})})
        events.append({"type": "message_stop"})
        return [typed_frame(event) for event in events]

    def error(self, body: Mapping[str, Any], status: int) -> Mapping[str, Any]:
        told = body.get("error")
        if not isinstance(told, dict) or "param" not in told:  # it is in another form already
            return body
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        details = {"error_code": told.get("code"), "param": told["param"]}
        more = {"details": details} if any(details.values()) else {}
        return {"type": "error", "error": {"type": kind, "message": told["message"], **more}}

    def error_frame(self, body: Mapping[str, Any], status: int) -> bytes:
        return typed_frame(self.error(body, status))

    def missing(self, name: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": "invalid_request_error", "message": f"{name}: Field required"}}


class CountTokensWire(MessagesWire):
    """`POST /v1/messages/count_tokens`."""

    path = "/messages/count_tokens"
    requires = ("messages",)
    streams = False

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        return {"input_tokens": _usage(completion.usage)["input_tokens"]}


def _messages(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if request.get("system"):
        yield {"role": "system", "content": parts_as_chat(request["system"])}
    for message in request["messages"]:
        content = message.get("content")
        if not isinstance(content, list):
            yield message
            continue
        blocks = [block for block in content if isinstance(block, dict)]
        for block in blocks:
            if block.get("type") == "tool_result":
                yield {"role": "tool", "content": parts_as_chat(block.get("content"))}
        calls = [_call_as_chat(block) for block in blocks if block.get("type") == "tool_use"]
        rest = [
            part_as_chat(block) for block in blocks
            if block.get("type") not in ("tool_result", "tool_use", "thinking", "redacted_thinking")
        ]  # fmt: skip
        if rest or calls:
            yield {"role": message.get("role"), "content": rest, **({"tool_calls": calls} if calls else {})}


def _call_as_chat(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.get("input")).decode()
    return {"type": "function", "function": {"name": block.get("name"), "arguments": arguments}}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}}


def _blocks(choice: ModelChoice) -> list[tuple[str, Any]]:
    said: list[tuple[str, Any]] = [("thinking", choice.thoughts)] if choice.thoughts else []
    if choice.tokens or not choice.calls:
        said.append(("text", choice.tokens))
    return said + [("tool_use", call) for call in choice.calls]


def _block(kind: str, said: Any) -> dict[str, Any]:
    if kind == "tool_use":
        return {**_opened(kind, said), "input": _input(said)}
    return {**_opened(kind, said), kind: "".join(said), **({"signature": _SIGNATURE} if kind == "thinking" else {})}


def _opened(kind: str, said: Any) -> dict[str, Any]:
    """A block as its first event has it."""
    if kind == "tool_use":
        return {
            "type": kind,
            "id": said.id.replace("call_", "toolu_"),
            "name": said.name,
            "input": {},
            "caller": {"type": "direct"},
        }
    more: dict[str, Any] = {"signature": ""} if kind == "thinking" else {"citations": []}
    return {"type": kind, kind: "", **more}


def _input(call: ToolCall) -> Any:
    return msgspec.json.decode(call.arguments) if call.kind == "function" else {"input": call.arguments}


def _deltas(kind: str, said: Any, chunk_size: int | None) -> Iterator[dict[str, Any]]:
    if kind == "tool_use":
        for piece in ["", *pieces(msgspec.json.encode(_input(said)).decode())]:
            yield {"type": "input_json_delta", "partial_json": piece}
        return
    for tokens in grouped(said, chunk_size):
        yield {"type": f"{kind}_delta", kind: "".join(tokens)}
    if kind == "thinking":
        yield {"type": "signature_delta", "signature": _SIGNATURE}


def _message(completion: Completion, content: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
    return {
        "id": completion.id,
        "type": "message",
        "role": "assistant",
        "model": completion.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
    }


def _usage(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """Anthropic's counts: what was read from a cache or written to one is not in `input_tokens`."""
    if "prompt_tokens" not in usage:
        return usage
    details = usage.get("prompt_tokens_details") or {}
    read, written = details.get("cached_tokens") or 0, details.get("cache_write_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": usage["prompt_tokens"] - read - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"thinking_tokens": thought},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }


def _counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    """What the last event repeats of the usage: the counts, as far as they go."""
    return {name: count for name, count in usage.items() if isinstance(count, int)}


MESSAGES_WIRE: Final = MessagesWire()
COUNT_TOKENS_WIRE: Final = CountTokensWire()
