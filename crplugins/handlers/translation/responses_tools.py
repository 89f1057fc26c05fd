"""The tools that a client of Responses offers, as functions of chat completions.

A tool that takes a text of its own form is a function with one parameter. The tools of a namespace, in which Codex puts
those of each MCP server, stand beside the others, under a name made of both. So do those that the conversation has
added, or the client's search has found. Those that run at OpenAI stay behind, unless the model must call one.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from crplugins.core.lenient_json import object_of, objects_of
from crplugins.handlers.translation.responses_builtins import builtin_of
from crplugins.handlers.translation.tool_names import ToolNames, parameters_of
from crplugins.handlers.translation.translation import Fields, invalid, not_translated, objects, text_in, without_none

INPUT: Final = "input"
"""The one parameter of a tool that takes a text of its own form, where it is called as a function."""

_OURS: Final = ("function", "custom")
_NAMESPACE: Final = "namespace"

ADDED: Final = ("additional_tools", "tool_search_output")
"""Items that have tools in them, which are offered from there on."""


class OfferedTools:
    """The tools of one request.

    Attributes:
        names: what the model reads for their names, and back.
        custom: those that take a text, by what the model reads.
        builtin: those that OpenAI's models know by their type, by what the model reads.
    """

    def __init__(self, asked: Fields) -> None:
        """Tools of another form than OpenAI's count as none: `chosen` refuses them."""
        self._given = asked.get("tools")
        self._tools = [*_offered(asked)]
        self.names = ToolNames((space, _name(tool)) for space, tool in self._tools)
        self.custom = frozenset(self._shown(*each) for each in self._tools if each[1].get("type") == "custom")
        builtin = {self._shown(*each): builtin_of(each[1]) for each in self._tools}
        self.builtin = {shown: known for shown, known in builtin.items() if known is not None}

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

    def shown_in(self, tools: Any) -> list[str]:
        """What the model reads for the names of some of them."""
        return [self._shown(*each) for each in _functions_in(tools)]

    def _shown(self, space: str, tool: Fields) -> str:
        return self.names.shown(_name(tool), space)

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
        if kind in self.builtin:
            return {"type": "function", "function": {"name": kind}}, None
        if kind == "allowed_tools":
            return wanted.get("mode"), objects(wanted.get("tools"), "tool_choice.tools")
        raise not_translated("tool_choice", f"the tool '{text_in(kind)[:50]}'")


def _offered(asked: Fields) -> Iterator[tuple[str, Fields]]:
    """The client's own tools, each with the namespace that it stands in, and each once."""
    items = [item for item in objects_of(asked.get("input")) if item.get("type") in ADDED]
    known = set[tuple[str, str]]()
    for tools in (asked.get("tools"), *(item.get("tools") for item in items)):
        for space, tool in _functions_in(tools):
            if (name := (space, _name(tool))) not in known:
                known.add(name)
                yield space, tool


def _functions_in(tools: Any) -> Iterator[tuple[str, Fields]]:
    for tool in objects_of(tools):
        if tool.get("type") == _NAMESPACE:
            space = text_in(tool.get("name"))
            yield from ((space, each) for each in objects_of(tool.get("tools")) if each.get("type") in _OURS)
        elif tool.get("type") in _OURS or builtin_of(tool) is not None:
            yield "", tool


def _name(tool: Fields) -> str:
    """Its name; of a tool that has none, its type."""
    return text_in(tool.get("name") if tool.get("type") in _OURS else tool.get("type"))


def _is_allowed(space: str, tool: Fields, allowed: list[Fields] | None) -> bool:
    """By its own name, or by that of its namespace."""
    if allowed is None:
        return True
    names = [(text_in(each.get("namespace")), each.get("name") or each.get("type")) for each in allowed]
    return (space, _name(tool)) in names or ("", space or _name(tool)) in names


def _function(tool: Fields, shown: str) -> Fields:
    builtin = builtin_of(tool)
    if builtin is not None:
        description, schema = builtin.function(tool)
        function: Fields = {"name": shown, "description": description, "parameters": parameters_of(schema)}
        return {"type": "function", "function": function}
    function = {"name": shown, "description": tool.get("description")}
    if tool.get("type") == "custom":
        grammar = text_in(object_of(tool.get("format")).get("definition"))
        meant: Fields = {"type": "string"}
        if grammar:
            meant["description"] = f"A text in this grammar:\n{grammar}"
        function["parameters"] = {"type": "object", "properties": {INPUT: meant}, "required": [INPUT]}
    else:
        function |= {"parameters": parameters_of(tool.get("parameters")), "strict": tool.get("strict")}
    return {"type": "function", "function": without_none(function)}
