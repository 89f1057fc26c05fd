"""The tools that a client of Responses offers, as functions of chat completions.

A tool that takes a text of its own form is a function with one parameter. The tools of a namespace, in which Codex puts
those of each MCP server, stand beside the others, under a name made of both. Those that run at OpenAI stay behind,
unless the model must call one.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from crplugins.core.lenient_json import object_of, objects_of
from crplugins.handlers.translation.tool_names import ToolNames, parameters_of
from crplugins.handlers.translation.translation import Fields, invalid, not_translated, objects, text_in, without_none

INPUT: Final = "input"
"""The one parameter of a tool that takes a text of its own form, where it is called as a function."""

_OURS: Final = ("function", "custom")
_NAMESPACE: Final = "namespace"


class OfferedTools:
    """The tools of one request.

    Attributes:
        names: what the model reads for their names, and back.
        custom: those that take a text, by what the model reads.
    """

    def __init__(self, asked: Fields) -> None:
        """Tools of another form than OpenAI's count as none: `chosen` refuses them."""
        self._given = asked.get("tools")
        self._tools = [*_functions_in(self._given)]
        self.names = ToolNames((space, text_in(tool.get("name"))) for space, tool in self._tools)
        self.custom = frozenset(self._shown(*each) for each in self._tools if each[1].get("type") == "custom")

    def chosen(self, choice: Any, parallel: Any) -> Fields:
        """The members of a chat completion that offer the tools. Raises `GatewayError` 400."""
        objects(self._given, "tools")
        how, allowed = self._choice(choice)
        tools = [
            _function(tool, self._shown(space, tool))
            for space, tool in self._tools
            if _is_allowed(space, tool, allowed)
        ]
        if not tools:
            if self._given and how == "required":
                raise not_translated("tool_choice", "a tool that runs at the provider")
            return {}
        return {"tools": tools, "tool_choice": how, "parallel_tool_calls": parallel}

    def _shown(self, space: str, tool: Fields) -> str:
        return self.names.shown(text_in(tool.get("name")), space)

    def _choice(self, wanted: Any) -> tuple[Any, list[Fields] | None]:
        """The choice as chat completions say it, and what names the tools that are left; None for all."""
        if wanted is None or isinstance(wanted, str):
            return wanted, None
        if not isinstance(wanted, Mapping):
            raise invalid("tool_choice", "a string or an object")
        kind = wanted.get("type")
        if kind in _OURS:
            name, space = text_in(wanted.get("name")), text_in(wanted.get("namespace"))
            return {"type": "function", "function": {"name": self.names.shown(name, space)}}, None
        if kind == "allowed_tools":
            return wanted.get("mode"), objects(wanted.get("tools"), "tool_choice.tools")
        raise not_translated("tool_choice", f"the tool '{text_in(kind)[:50]}'")


def _functions_in(tools: Any) -> Iterator[tuple[str, Fields]]:
    """The client's own tools, each with the namespace that it stands in."""
    for tool in objects_of(tools):
        if tool.get("type") == _NAMESPACE:
            space = text_in(tool.get("name"))
            yield from ((space, each) for each in objects_of(tool.get("tools")) if each.get("type") in _OURS)
        elif tool.get("type") in _OURS:
            yield "", tool


def _is_allowed(space: str, tool: Fields, allowed: list[Fields] | None) -> bool:
    """By its own name, or by that of its namespace."""
    if allowed is None:
        return True
    names = [(text_in(each.get("namespace")), each.get("name")) for each in allowed]
    return (space, tool.get("name")) in names or ("", space or tool.get("name")) in names


def _function(tool: Fields, shown: str) -> Fields:
    function: Fields = {"name": shown, "description": tool.get("description")}
    if tool.get("type") == "custom":
        grammar = text_in(object_of(tool.get("format")).get("definition"))
        meant: Fields = {"type": "string"}
        if grammar:
            meant["description"] = f"A text in this grammar:\n{grammar}"
        function["parameters"] = {"type": "object", "properties": {INPUT: meant}, "required": [INPUT]}
    else:
        function |= {"parameters": parameters_of(tool.get("parameters")), "strict": tool.get("strict")}
    return {"type": "function", "function": without_none(function)}
