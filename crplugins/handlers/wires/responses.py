"""The form of Responses (OpenAI, "Create a model response"): items, and a stream of numbered events about them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from crplugins.core.dialects.dialect import typed_frame
from crplugins.handlers.wires.completion import Completion, ToolCall, grouped, pieces
from crplugins.handlers.wires.wire import UsagePlace, Wire, parts_as_chat

_ECHOED: Final[Mapping[str, Any]] = {
    "background": False, "frequency_penalty": 0.0, "instructions": None, "max_output_tokens": None,
    "max_tool_calls": None, "metadata": {}, "parallel_tool_calls": True, "presence_penalty": 0.0,
    "previous_response_id": None, "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None, "store": True, "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [], "top_logprobs": 0,
    "top_p": 1.0, "truncation": "disabled", "user": None,
}  # fmt: skip
"""What a response repeats of its request, or has by default."""

_CALLS: Final[Mapping[str, tuple[str, str, str]]] = {
    "function": ("function_call", "arguments", "response.function_call_arguments"),
    "custom": ("custom_tool_call", "input", "response.custom_tool_call_input"),
}
"""By kind of tool: the type of an item, its member for what the tool is given, the events that tell it."""

_OUTPUTS: Final = ("function_call_output", "custom_tool_call_output")


class ResponsesWire(Wire):
    """`POST /v1/responses`."""

    path = "/responses"
    id_prefix = "resp_"
    requires = ("input",)

    def as_chat(self, request: Mapping[str, Any]) -> dict[str, Any]:
        asked: dict[str, Any] = {"model": request["model"], "messages": list(_messages(request))}
        tools = [_tool(tool) for tool in request.get("tools") or () if tool.get("type") in _CALLS]
        asked |= {"tools": tools} if tools else {}
        choice = request.get("tool_choice")
        if isinstance(choice, dict):
            choice = {"allowed_tools": choice} if choice.get("type") == "allowed_tools" else {"function": choice}
        text = (request.get("text") or {}).get("format") or {}
        if text.get("type") in ("json_schema", "json_object"):
            asked["response_format"] = {"type": text["type"], "json_schema": {"schema": text.get("schema")}}
        kept = {name: request.get(name) for name in ("parallel_tool_calls", "service_tier")}
        kept |= {"tool_choice": choice, "max_completion_tokens": request.get("max_output_tokens")}
        return {**asked, **{name: value for name, value in kept.items() if value is not None}}

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        cut = completion.choices[0].finish_reason == "length"
        items = [_item(kind, said, completion, place) for place, (kind, said) in enumerate(_outputs(completion))]
        if cut and items:
            items[-1]["status"] = "incomplete"
        told = _usage(completion.usage) if usage else None
        return _response(completion, request, "incomplete" if cut else "completed", items, told)

    def frames(
        self,
        completion: Completion,
        request: Mapping[str, Any],
        *,
        usage: UsagePlace = "own_chunk",
        chunk_size: int | None = None,
    ) -> list[bytes]:
        begun = _response(completion, request, "in_progress", [], None)
        done = self.whole(completion, request, usage=usage != "none")
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        for place, (kind, said) in enumerate(_outputs(completion)):
            item = done["output"][place]
            opened = {name: [] if isinstance(value, list) else value for name, value in item.items()}
            if kind == "call":
                opened[_CALLS[said.kind][1]] = ""
            events.append({
                "type": "response.output_item.added", "output_index": place, "item": {**opened, "status": "in_progress"}
            })  # fmt: skip
            events += _told(kind, said, item, place, chunk_size)
            events.append({"type": "response.output_item.done", "output_index": place, "item": item})
        events.append({"type": f"response.{done['status']}", "response": done})
        return [typed_frame({**event, "sequence_number": number}) for number, event in enumerate(events)]

    def error_frame(self, body: Mapping[str, Any], status: int) -> bytes:
        told = body["error"]
        code = told["code"] or told["type"]
        return typed_frame({"type": "error", "code": code, "message": told["message"], "param": told["param"]})


class CompactWire(ResponsesWire):
    """`POST /v1/responses/compact`: what was said stays, and nobody can read the rest."""

    path = "/responses/compact"
    streams = False

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        said = "".join(completion.choices[0].tokens)
        item = {"id": f"cmp_{completion.id.partition('_')[2]}", "type": "compaction", "encrypted_content": said}
        told = {"usage": _usage(completion.usage)} if usage else {}
        head = {"id": completion.id, "object": "response.compaction", "created_at": completion.created}
        return {**head, "output": [item], **told}


def _messages(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if request.get("instructions"):
        yield {"role": "system", "content": request["instructions"]}
    given = request["input"]
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    if not isinstance(given, list):
        raise TypeError("input is a text or a list of items")
    for item in given:
        kind = item.get("type", "message")
        if kind == "message":
            yield {"role": item.get("role", "user"), "content": parts_as_chat(item.get("content"))}
        elif kind in _OUTPUTS:
            yield {"role": "tool", "content": parts_as_chat(item.get("output"))}
        elif kind in ("function_call", "custom_tool_call"):
            call = {"name": item.get("name"), "arguments": item.get("arguments", item.get("input"))}
            yield {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": call}]}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": tool["type"], tool["type"]: {"name": tool["name"], "parameters": tool.get("parameters")}}


def _outputs(completion: Completion) -> list[tuple[str, Any]]:
    """The items of the answer: thoughts, a message, calls."""
    choice = completion.choices[0]
    said: list[tuple[str, Any]] = [("reasoning", choice.thoughts)] if choice.thoughts else []
    if choice.tokens or not choice.calls:
        said.append(("message", choice.tokens))
    return said + [("call", call) for call in choice.calls]


def _item(kind: str, said: Any, completion: Completion, place: int) -> dict[str, Any]:
    name = completion.id.partition("_")[2] + str(place)
    if kind == "reasoning":
        return {"id": f"rs_{name}", "type": "reasoning", "summary": [_summary("".join(said))]}
    if kind == "call":
        call: ToolCall = said
        item, given, _ = _CALLS[call.kind]
        told = {"call_id": call.id, "name": call.name, given: call.arguments}
        return {
            "id": f"{'fc' if call.kind == 'function' else 'ctc'}_{name}",
            "type": item,
            "status": "completed",
            **told,
        }
    content = [_text("".join(said))]
    return {"id": f"msg_{name}", "type": "message", "status": "completed", "role": "assistant", "content": content}


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _told(
    kind: str, said: Any, item: Mapping[str, Any], place: int, chunk_size: int | None
) -> Iterator[dict[str, Any]]:
    """The events between the beginning and the end of an item."""
    where = {"item_id": item["id"], "output_index": place}
    if kind == "call":
        _, given, event = _CALLS[said.kind]
        for piece in pieces(said.arguments):
            yield {"type": f"{event}.delta", **where, "delta": piece}
        yield {"type": f"{event}.done", **where, given: said.arguments}
        return
    text, more = "".join(said), dict[str, Any]()
    if kind == "reasoning":
        where |= {"summary_index": 0}
        part, event, of = "response.reasoning_summary_part", "response.reasoning_summary_text", _summary
    else:
        where |= {"content_index": 0}
        part, event, of, more = "response.content_part", "response.output_text", _text, {"logprobs": []}
    yield {"type": f"{part}.added", **where, "part": of("")}
    for tokens in grouped(said, chunk_size):
        yield {"type": f"{event}.delta", **where, "delta": "".join(tokens), **more}
    yield {"type": f"{event}.done", **where, "text": text, **more}
    yield {"type": f"{part}.done", **where, "part": of(text)}


def _response(
    completion: Completion,
    request: Mapping[str, Any],
    status: str,
    output: list[dict[str, Any]],
    usage: Mapping[str, Any] | None,
) -> dict[str, Any]:
    repeated = {name: default if (given := request.get(name)) is None else given for name, default in _ECHOED.items()}
    repeated["tools"] = [
        {"strict": None, **tool} if tool.get("type") == "function" else tool for tool in repeated["tools"]
    ]
    return {
        "id": completion.id,
        "object": "response",
        "created_at": completion.created,
        "completed_at": completion.created if status == "completed" else None,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": completion.model,
        "output": output,
        **repeated,
        "service_tier": completion.service_tier,
        "usage": usage,
    }


def _usage(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    if "prompt_tokens" not in usage:
        return usage
    read, made = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": read.get("cached_tokens") or 0, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": made.get("reasoning_tokens") or 0},
        "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"],
    }


RESPONSES_WIRE: Final = ResponsesWire()
COMPACT_WIRE: Final = CompactWire()
