"""Tool calls in OpenAI's form, from the fragments of every provider's streams and from whole answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crplugins.core.call_numbers import CallIds, CallNumbers, index_of
from crplugins.handlers.litellm.usage import fields_of, plain, text_of


class ToolCalls:
    """The tool calls of one choice so far."""

    __slots__ = ("_functions", "_ids", "_numbers", "_unique")

    def __init__(self) -> None:
        self._functions: list[int] = []  # the calls of functions, among those of custom tools
        self._ids: list[str] = []
        self._unique = CallIds()
        self._numbers = CallNumbers()

    def __bool__(self) -> bool:
        return bool(self._ids)

    @property
    def lack_a_name(self) -> bool:
        """One of them has begun without saying which tool it calls."""
        return "" in self._numbers.names

    def fragments(self, raw: Any) -> list[dict[str, Any]]:
        """The provider's `tool_calls` of one delta."""
        calls = raw if isinstance(raw, Sequence) else [raw]
        fragments = (self._fragment(place, fields_of(call)) for place, call in enumerate(calls) if call is not None)
        return [fragment for fragment in fragments if fragment is not None]

    def without_arguments(self) -> list[dict[str, Any]]:
        """At the end: a fragment for each function that was called with none. OpenAI sends an empty object for those,
        and clients decode the text whatever it is (Cohere and Anthropic send no text)."""
        return [
            {"index": number, "function": {"arguments": "{}"}}
            for number in self._functions
            if not any(self._numbers.arguments[number])
        ]

    def _fragment(self, place: int, call: Mapping[str, Any]) -> dict[str, Any] | None:
        continuation, call_id, name = _continuation(call), text_of(call.get("id")), _name_of(call)
        placed = self._numbers.note(index_of(call, place), call_id, name, _arguments_of(continuation))
        number = placed.number
        if placed.again:
            return None
        if not placed.begins:
            if placed.names:
                next(continuation[kind] for kind in ("custom", "function") if kind in continuation)["name"] = name
            return {"index": number, **continuation}
        self._ids.append(self._unique.of(call_id))
        beginning = _beginning(call)
        if "function" in beginning:
            self._functions.append(number)
        return {"index": number, "id": self._ids[number], **beginning}


def _name_of(call: Mapping[str, Any]) -> str | None:
    return text_of(fields_of(call.get("function")).get("name") or fields_of(call.get("custom")).get("name"))


def _arguments_of(fragment: Mapping[str, Any]) -> str:
    """The arguments of a repaired fragment, without the name."""
    function = fragment.get("function") or fragment.get("custom") or {}
    return str(function.get("arguments") or function.get("input") or "")


def complete_calls(raw: Any) -> list[dict[str, Any]]:
    """The tool calls of a plain answer."""
    calls = [fields_of(call) for call in raw] if isinstance(raw, Sequence) else []
    ids = CallIds()
    made = [{"id": ids.of(call.get("id")), **_beginning(call)} for call in calls]
    for call in made:
        if call["type"] == "function" and not call["function"]["arguments"]:
            call["function"]["arguments"] = "{}"
    return made


def _beginning(call: Mapping[str, Any]) -> dict[str, Any]:
    if custom := fields_of(call.get("custom")):
        made: dict[str, Any] = {
            "type": "custom",
            "custom": {"name": custom.get("name") or "", "input": custom.get("input") or ""},
        }
    else:
        function = fields_of(call.get("function"))
        arguments = _json_text(function.get("arguments"))
        made = {"type": "function", "function": {"name": function.get("name") or "", "arguments": arguments}}
    return made | _extra_content(call)


def _continuation(call: Mapping[str, Any]) -> dict[str, Any]:
    if custom := fields_of(call.get("custom")):
        made: dict[str, Any] = {"custom": {"input": custom.get("input") or ""}}
    else:
        made = {"function": {"arguments": _json_text(fields_of(call.get("function")).get("arguments"))}}
    return made | _extra_content(call)


def _extra_content(call: Mapping[str, Any]) -> dict[str, Any]:
    """Google's signature of the thought before a call. Gemini refuses the next turn without it."""
    extra = call.get("extra_content")
    return {"extra_content": plain(extra)} if extra else {}


def _json_text(arguments: Any) -> str:
    """Arguments as OpenAI sends them, a string of JSON; a few providers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(arguments).decode() if arguments is not None else ""
