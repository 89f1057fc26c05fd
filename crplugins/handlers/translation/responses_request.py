"""A request of Responses as a chat completion (OpenAI, "Create a model response", "Create chat completion").

Nothing is kept between two requests: a request that goes on with a stored response, or wants to be answered in the
background, is refused. The table of what is lost stands on the page about handlers.
"""

from base64 import b64decode, b64encode
from typing import Any, Final

import msgspec

from crplugins.core.errors import GatewayError
from crplugins.core.lenient_json import encoded
from crplugins.handlers.histories import SEALED
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.conversation import Conversation
from crplugins.handlers.translation.responses_builtins import CALLS, RESULTS, arguments_text, found
from crplugins.handlers.translation.responses_tools import ADDED, INPUT, OfferedTools
from crplugins.handlers.translation.translation import (
    Fields,
    chat_stream,
    missing,
    not_translated,
    objects,
    text_in,
    without_none,
)

_NEVER: Final = ("previous_response_id", "conversation", "prompt", "background")
"""What needs somebody who has kept something."""

_OF_OPENAI: Final = ("prompt_cache_key", "safety_identifier", "service_tier")
_PASSED: Final = ("temperature", "top_p", "user")

_CALLS: Final = frozenset({"function_call", "custom_tool_call", *CALLS})
_RESULTS: Final = frozenset({"function_call_output", "custom_tool_call_output", *RESULTS})
_REMARKS: Final = frozenset({
    "code_interpreter_call", "file_search_call", "image_generation_call", "mcp_approval_request",
    "mcp_approval_response", "mcp_call", "mcp_list_tools", "web_search_call",
})  # fmt: skip
"""What tools at OpenAI have done in earlier turns: the answer that they led to stands after them."""


def chat_request(asked: Fields, target: Target) -> Fields:
    """Raises `GatewayError` 400."""
    for name in _NEVER:
        if asked.get(name):
            raise not_translated(name, f"'{name}'")
    tools = OfferedTools(asked)
    return without_none(
        {
            "model": asked.get("model"),
            "messages": _conversation(asked, target, tools),
            target.output_limit: asked.get("max_output_tokens"),
            **chat_stream(asked),
            **{name: asked.get(name) for name in _PASSED},
            **({name: asked.get(name) for name in _OF_OPENAI} if target.is_openai else {}),
            **tools.chosen(asked.get("tool_choice"), asked.get("parallel_tool_calls")),
            **_reasoning(asked, target),
            **_text(asked, target),
        }
    )


def _conversation(asked: Fields, target: Target, tools: OfferedTools) -> list[Fields]:
    said, given = Conversation(target), asked.get("input")
    instructions = text_in(asked.get("instructions"))
    said.system([{"type": "text", "text": instructions}] if instructions else [])
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        said.user([{"type": "text", "text": given}])
    else:
        for number, item in enumerate(objects(given, "input")):
            _add(said, item, f"input[{number}]", tools)
    return said.messages()


def _add(said: Conversation, item: Fields, param: str, tools: OfferedTools) -> None:
    kind = _kind(item)
    if kind == "message":
        _say(said, item, param)
    elif kind == "reasoning":
        said.answer(thoughts=thoughts_of(item))
    elif _runs_at_openai(item):
        pass
    elif kind in _CALLS:
        said.answer(calls=[_call(item, tools)])
    elif kind in _RESULTS:
        _result(said, item, param, tools)
    elif kind not in ADDED:
        raise not_translated(param, f"an item of type '{text_in(kind)[:50]}'")


def _kind(item: Fields) -> Any:
    """Its type, which a message and a reference may leave out."""
    return item.get("type") or ("message" if "role" in item or "content" in item else "item_reference")


def _runs_at_openai(item: Fields) -> bool:
    return item.get("type") in _REMARKS or item.get("execution") == "server"


def _call(item: Fields, tools: OfferedTools) -> Fields:
    arguments = item.get("arguments")
    name, space = text_in(item.get("name")), text_in(item.get("namespace"))
    if builtin := CALLS.get(text_in(item.get("type"))):
        name, space, arguments = builtin.kind, "", arguments_text(builtin, item)
    elif item.get("type") == "custom_tool_call":
        arguments = encoded({INPUT: text_in(item.get("input"))}).decode()
    function = {"name": tools.names.shown(name, space), "arguments": text_in(arguments) or "{}"}
    return {"id": _call_id(item), "type": "function", "function": function}


def _call_id(item: Fields) -> str:
    """The id of a call. The result of a local shell has it as its own."""
    return text_in(item.get("call_id")) or text_in(item.get("id"))


def _say(said: Conversation, item: Fields, param: str) -> None:
    content = item.get("content")
    parts = (
        [{"type": "text", "text": content}]
        if isinstance(content, str)
        else [_part(each, f"{param}.content") for each in objects(content, f"{param}.content")]
    )
    role = text_in(item.get("role"))
    if role == "assistant":
        said.answer(parts)
    elif role in ("developer", "system"):
        said.system(parts, role)
    else:
        said.user(parts)


def _result(said: Conversation, item: Fields, param: str, tools: OfferedTools) -> None:
    call_id, output = _call_id(item), _output(item, tools)
    if not said.has_called(call_id):
        raise GatewayError(
            400, f"No tool call found for function call output with call_id {call_id[:100]}.", param=param
        )
    pictures: list[Fields] = []
    if isinstance(output, list) and item.get("type") not in RESULTS:
        parts = [_part(each, f"{param}.output") for each in objects(output, f"{param}.output")]
        pictures = [part for part in parts if part["type"] != "text"]
        output = "".join(part["text"] for part in parts if part["type"] == "text")
    if not isinstance(output, str):
        output = encoded(output).decode()
    said.result({"role": "tool", "tool_call_id": call_id, "content": output})
    said.user(pictures)


def _output(item: Fields, tools: OfferedTools) -> Any:
    builtin = RESULTS.get(text_in(item.get("type")))
    if item.get("type") in ADDED:
        return found(tools.shown_in(item.get("tools")))
    return item.get("output") if builtin is None else builtin.output(item)


def _part(part: Fields, param: str) -> Fields:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": text_in(part.get("text"))}
    if kind == "refusal":
        return {"type": "text", "text": text_in(part.get("refusal"))}
    if kind == "input_image" and (url := text_in(part.get("image_url"))):
        detail = part.get("detail")
        return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}
    if kind == "input_file" and (part.get("file_data") or part.get("file_id")):
        names = ("file_data", "filename", "file_id")
        return {"type": "file", "file": {name: part[name] for name in names if part.get(name)}}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    raise not_translated(param, f"content of type '{text_in(kind)[:50]}'")


def thoughts_of(item: Fields) -> list[Fields]:
    """What a model has thought: the blocks that `sealed` has hidden in the item, else its text."""
    hidden = text_in(item.get("encrypted_content"))
    if hidden.startswith(SEALED):
        try:
            return msgspec.json.decode(b64decode(hidden.removeprefix(SEALED), validate=True), type=list[Fields])
        except ValueError:  # it has been changed on the way
            return []
    parts = [*_texts(item.get("summary")), *_texts(item.get("content"))]
    return [{"type": "thinking", "thinking": text} for text in parts if text]


def sealed(blocks: list[Fields]) -> str:
    """The blocks of a thought as a client keeps them for the next request, in a text that it does not read."""
    return SEALED + b64encode(encoded(blocks)).decode()


def _texts(parts: Any) -> list[str]:
    return [text_in(each.get("text")) for each in parts if isinstance(each, dict)] if isinstance(parts, list) else []


def _reasoning(asked: Fields, target: Target) -> Fields:
    """How much the model is to think, for one that can be told."""
    reasoning = asked.get("reasoning")
    effort = text_in(reasoning.get("effort")) if isinstance(reasoning, dict) else ""
    return {"reasoning_effort": effort} if effort and (target.reasons or target.is_claude) else {}


def _text(asked: Fields, target: Target) -> Fields:
    """The form of the answer, and how long-winded it is."""
    text = asked.get("text")
    if not isinstance(text, dict):
        return {}
    made: Fields = {"verbosity": text.get("verbosity") if target.is_openai else None}
    form = text.get("format")
    if not isinstance(form, dict) or form.get("type") in (None, "text"):
        return made
    if form.get("type") == "json_object":
        return made | {"response_format": {"type": "json_object"}}
    if form.get("type") == "json_schema":
        schema = {
            name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name) is not None
        }
        return made | {"response_format": {"type": "json_schema", "json_schema": schema}}
    raise not_translated("text.format", f"the format '{text_in(form.get('type'))[:50]}'")
