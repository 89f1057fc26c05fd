"""A request of Responses as a chat completion (OpenAI, "Create a model response", "Create chat completion").

Nothing is kept between two requests: a request that goes on with a stored response, or wants to be answered in the
background, is refused. The table of what is lost stands on the page about handlers.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crplugins.core.lenient_json import encoded
from crplugins.handlers.spoken import Target
from crplugins.handlers.translation.messages_request import thoughts_back
from crplugins.handlers.translation.translation import (
    Fields,
    chat_stream,
    invalid,
    merged,
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

INPUT: Final = "input"
"""The one parameter of a tool that takes a text of its own form, where it is called as a function."""

_OURS: Final = "crplugins:"
"""How the thoughts begin that a client is given to send back."""

_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_RESULTS: Final = frozenset({"function_call_output", "custom_tool_call_output"})
_REMARKS: Final = frozenset({"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"})
"""What tools at OpenAI have done in earlier turns: the answer that they led to stands behind them."""


def chat_request(asked: Fields, target: Target) -> Fields:
    """Raises `GatewayError` 400."""
    for name in _NEVER:
        if asked.get(name):
            raise not_translated(name, f"'{name}'")
    return without_none(
        {
            "model": asked.get("model"),
            "messages": [*_instructions(asked), *_Messages(target).of(asked.get("input"))],
            target.output_limit: asked.get("max_output_tokens"),
            **chat_stream(asked),
            **{name: asked.get(name) for name in _PASSED},
            **({name: asked.get(name) for name in _OF_OPENAI} if target.is_openai else {}),
            **_tools(asked),
            **_reasoning(asked, target),
            **_text(asked, target),
        }
    )


def custom_tools(asked: Fields) -> frozenset[str]:
    """The names of the tools that take a text."""
    tools = asked.get("tools")
    listed = tools if isinstance(tools, list) else []
    return frozenset(text_in(each.get("name")) for each in listed if _is_custom(each))


def _is_custom(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "custom"


def _instructions(asked: Fields) -> list[Fields]:
    text = asked.get("instructions")
    return [{"role": "system", "content": text}] if isinstance(text, str) and text else []


class _Messages:
    """The messages of a conversation. What the model says in one turn is one message, whatever its items are."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._messages: list[Fields] = []
        self._thoughts: list[Fields] = []

    def of(self, given: Any) -> list[Fields]:
        if given is None:
            raise missing("input")
        if isinstance(given, str):
            return [{"role": "user", "content": given}]
        for number, item in enumerate(objects(given, "input")):
            self._add(item, f"input[{number}]")
        return self._messages

    def _add(self, item: Fields, param: str) -> None:
        kind = item.get("type") or "message"
        if kind == "message":
            self._say(item, param)
        elif kind == "reasoning":
            self._thoughts += thoughts_of(item)
        elif kind in _CALLS:
            arguments = item.get("arguments")
            if kind == "custom_tool_call":
                arguments = encoded({INPUT: text_in(item.get("input"))}).decode()
            function = {"name": text_in(item.get("name")), "arguments": text_in(arguments) or "{}"}
            call = {"id": text_in(item.get("call_id")), "type": "function", "function": function}
            self._answer().setdefault("tool_calls", []).append(call)
        elif kind in _RESULTS:
            self._result(item, param)
        elif kind not in _REMARKS:
            raise not_translated(param, f"an item of type '{text_in(kind)[:50]}'")

    def _say(self, item: Fields, param: str) -> None:
        content = item.get("content")
        parts = (
            [{"type": "text", "text": content}]
            if isinstance(content, str)
            else [_part(each, f"{param}.content") for each in objects(content, f"{param}.content")]
        )
        role = text_in(item.get("role")) or "user"
        if role != "assistant":
            role = "system" if role == "developer" and not self._target.is_openai else role
            self._messages.append({"role": role, "content": merged(parts)})
        elif parts:
            said = self._answer()
            said["content"] = merged([*_parts_of(said["content"]), *parts])

    def _answer(self) -> Fields:
        """The message of the model that is being put together."""
        last = self._messages[-1] if self._messages else None
        if last is None or last["role"] != "assistant":
            last = {"role": "assistant", "content": None}
            self._messages.append(last)
        if self._thoughts:
            back = thoughts_back(self._thoughts, self._target)
            self._thoughts = []
            for name, value in back.items():
                last[name] = last[name] + value if name in last else value
        return last

    def _result(self, item: Fields, param: str) -> None:
        output = item.get("output")
        pictures: list[Fields] = []
        if isinstance(output, list):
            parts = [_part(each, f"{param}.output") for each in objects(output, f"{param}.output")]
            pictures = [part for part in parts if part["type"] != "text"]
            output = "".join(part["text"] for part in parts if part["type"] == "text")
        if not isinstance(output, str):
            output = encoded(output).decode()
        self._messages.append({"role": "tool", "tool_call_id": text_in(item.get("call_id")), "content": output})
        if pictures:
            self._messages.append({"role": "user", "content": pictures})


def _parts_of(content: Any) -> list[Fields]:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


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
    if hidden.startswith(_OURS):
        try:
            return msgspec.json.decode(b64decode(hidden.removeprefix(_OURS), validate=True), type=list[Fields])
        except ValueError:  # it has been changed on the way
            return []
    parts = [*_texts(item.get("summary")), *_texts(item.get("content"))]
    return [{"type": "thinking", "thinking": text} for text in parts if text]


def sealed(blocks: list[Fields]) -> str:
    """The blocks of a thought as a client keeps them for the next request, in a text that it does not read."""
    return _OURS + b64encode(encoded(blocks)).decode()


def _texts(parts: Any) -> list[str]:
    return [text_in(each.get("text")) for each in parts if isinstance(each, dict)] if isinstance(parts, list) else []


def _tools(asked: Fields) -> Fields:
    """Tools of the client. Those that run at OpenAI stay behind, unless the model must call one."""
    tools = [*map(_tool, filter(_is_ours, objects(asked.get("tools"), "tools")))]
    choice, chosen = _choice(asked.get("tool_choice"))
    if chosen is not None:
        tools = [tool for tool in tools if tool["function"]["name"] in chosen]
    if not tools:
        return {}
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": asked.get("parallel_tool_calls")}


def _is_ours(tool: Fields) -> bool:
    return tool.get("type") in ("function", "custom")


def _tool(tool: Fields) -> Fields:
    function: Fields = {"name": text_in(tool.get("name")), "description": tool.get("description")}
    if tool.get("type") == "custom":
        form = tool.get("format")
        grammar = text_in(form.get("definition")) if isinstance(form, dict) else ""
        meant: Fields = {"type": "string"}
        if grammar:
            meant["description"] = f"A text in this grammar:\n{grammar}"
        function["parameters"] = {"type": "object", "properties": {INPUT: meant}, "required": [INPUT]}
    else:
        function |= {"parameters": tool.get("parameters"), "strict": tool.get("strict")}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def _choice(wanted: Any) -> tuple[Any, frozenset[str] | None]:
    """The choice as chat completions say it, and the names of the tools that are left; None for all."""
    if wanted is None or isinstance(wanted, str):
        return wanted, None
    if not isinstance(wanted, Mapping):
        raise invalid("tool_choice", "a string or an object")
    kind = wanted.get("type")
    if kind in ("function", "custom"):
        return {"type": "function", "function": {"name": text_in(wanted.get("name"))}}, None
    if kind == "allowed_tools":
        names = [text_in(each.get("name")) for each in objects(wanted.get("tools"), "tool_choice.tools")]
        return wanted.get("mode"), frozenset(names)
    raise not_translated("tool_choice", f"the tool '{text_in(kind)[:50]}'")


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
