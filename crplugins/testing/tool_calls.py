"""Which tools the fake model calls, and with which arguments."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from crplugins.handlers.wires.completion import ToolCall
from crplugins.testing.hints import Hints
from crplugins.testing.schema import fill
from crplugins.testing.tokens import text_of

_WORD = re.compile(r"[a-z]{3,}")
_NAME_FILLERS = {"get", "set", "the", "tool", "function", "current"}


@dataclass(frozen=True, slots=True)
class _Tool:
    kind: Literal["function", "custom"]
    name: str
    parameters: Any

    def asked_for(self, text: str) -> int:
        """0 if the text has nothing to do with the tool; a mention of its name outweighs shared words."""
        words = set(_WORD.findall(self.name.lower().replace("_", " "))) - _NAME_FILLERS
        return 10 * (self.name.lower() in text) + len(words & set(_WORD.findall(text)))


def calls_for(request: Mapping[str, Any], seed: str) -> tuple[ToolCall, ...]:
    """The calls that answer `request`; none if the answer is text. Call ids follow from `seed`.

    Forced (`required`, a named tool, `allowed_tools` with mode required): the tool the text asks for, else the first.
    Automatic: only if the last message is the user's and shares a word with a tool's name or says "tool". All tools
    asked for are called, or the best one under `parallel_tool_calls: false`.
    """
    mode, names = _choice(request)
    tools = [tool for tool in _offered(request) if names is None or tool.name in names]
    if mode == "none" or not tools:
        return ()
    text = last_user_text(request)
    chosen = _chosen(tools, text.lower(), forced=mode == "required", from_user=_user_spoke_last(request))
    if request.get("parallel_tool_calls") is False or "functions" in request:
        chosen = chosen[:1]
    hints = Hints(text)
    return tuple(_call(tool, hints, f"{seed}-{index}") for index, tool in enumerate(chosen))


def last_user_text(request: Mapping[str, Any]) -> str:
    """The text of the last user message, "" if there is none."""
    users = (message for message in reversed(request["messages"]) if message.get("role") == "user")
    return text_of(next(users, {}))


def _user_spoke_last(request: Mapping[str, Any]) -> bool:
    return bool(request["messages"][-1].get("role") == "user")


def _chosen(tools: list[_Tool], text: str, *, forced: bool, from_user: bool) -> list[_Tool]:
    asked = sorted((tool for tool in tools if tool.asked_for(text)), key=lambda tool: -tool.asked_for(text))
    if forced:
        return asked or tools[:1]
    if not from_user:
        return []
    return asked or (tools[:1] if re.search(r"\btools?\b", text) else [])


def _offered(request: Mapping[str, Any]) -> Iterable[_Tool]:
    for tool in request.get("tools") or ():
        kind: Literal["function", "custom"] = "custom" if tool.get("type") == "custom" else "function"
        yield _Tool(kind, tool[kind]["name"], tool[kind].get("parameters"))
    for function in request.get("functions") or ():
        yield _Tool("function", function["name"], function.get("parameters"))


def _choice(request: Mapping[str, Any]) -> tuple[str, set[str] | None]:
    """Mode (none, auto, required) and the names it is limited to; None = all of them."""
    choice = request.get("tool_choice") or request.get("function_call") or "auto"
    if isinstance(choice, str):
        return ("required" if choice == "any" else choice), None
    if allowed := choice.get("allowed_tools"):
        return allowed.get("mode", "auto"), {_name(tool) for tool in allowed.get("tools", ())}
    return "required", {_name(choice)}


def _name(choice: Mapping[str, Any]) -> str:
    inner = choice.get("function") or choice.get("custom") or choice
    return str(inner.get("name"))


def scripted_calls(calls: Iterable[tuple[str, str]], seed: str) -> tuple[ToolCall, ...]:
    """Calls of functions by name and arguments; their ids follow from `seed`."""
    return tuple(ToolCall(_call_id(f"{seed}-{place}"), "function", *call) for place, call in enumerate(calls))


def _call_id(seed: str) -> str:
    return "call_" + hashlib.sha256(seed.encode()).hexdigest()[:24]


def _call(tool: _Tool, hints: Hints, seed: str) -> ToolCall:
    call_id = _call_id(seed)
    if tool.kind == "custom":
        return ToolCall(call_id, tool.kind, tool.name, hints.string() or f"some input for {tool.name}")
    parameters = {"type": "object", **tool.parameters} if isinstance(tool.parameters, dict) else {"type": "object"}
    return ToolCall(call_id, tool.kind, tool.name, msgspec.json.encode(fill(parameters, hints)).decode())
