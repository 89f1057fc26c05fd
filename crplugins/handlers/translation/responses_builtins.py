"""Tools of Responses that OpenAI's models know by their type alone, and that the client runs.

A shell, patches to files, and the client's own search for tools: a request says no more of them than their type. Here
each is a function with its parameters, and a call of it is told as the item that the client looks for (OpenAI,
"Shell", "Apply patch", "Local shell", "Tool search").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from crplugins.core.lenient_json import encoded, object_of
from crplugins.handlers.translation.translation import Fields, text_in


@dataclass(frozen=True, slots=True)
class BuiltInTool:
    """One of them.

    Attributes:
        kind: its type in a list of tools, and the name of the function.
        call, result: the types of the items that are a call of it, and what the client answers.
        prefix: how the ids of its calls begin.
        function: what it is for and its parameters, as a request offers it.
        told: the members of a call's item, of the arguments that a model gave.
        arguments: those arguments, of an item.
        output: what the client has answered, as a text.
    """

    kind: str
    call: str
    result: str
    prefix: str
    function: Callable[[Fields], tuple[str, Any]]
    told: Callable[[Fields], Fields]
    arguments: Callable[[Fields], Any]
    output: Callable[[Fields], Any] = lambda item: item.get("output")


def builtin_of(tool: Fields) -> BuiltInTool | None:
    """None for a tool of another type, and for one that runs at OpenAI."""
    kind = tool.get("type")
    if kind == "shell" and object_of(tool.get("environment")).get("type", "local") != "local":
        return None
    if kind == "tool_search" and tool.get("execution") != "client":
        return None
    return _BY_KIND.get(text_in(kind))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(meaning: str) -> Fields:
    return {"type": "string", "description": meaning}


def _list(meaning: str) -> Fields:
    return {"type": "array", "items": {"type": "string"}, "description": meaning}


_TIME: Final = {"type": "integer", "description": "After how many milliseconds to give up."}


def _shell(_: Fields) -> tuple[str, Fields]:
    properties = {
        "commands": _list("The commands of the shell to run, one after the other."),
        "timeout_ms": _TIME,
        "max_output_length": {"type": "integer", "description": "How many characters of output to keep at most."},
    }
    return "Runs commands in a shell.", {"type": "object", "properties": properties, "required": ["commands"]}


def _shell_call(arguments: Fields) -> Fields:
    action = {
        "commands": _texts(arguments.get("commands")),
        "timeout_ms": _count(arguments.get("timeout_ms")),
        "max_output_length": _count(arguments.get("max_output_length")),
    }
    return {"action": action, "environment": {"type": "local"}}


def _local_shell(_: Fields) -> tuple[str, Fields]:
    properties = {
        "command": _list("The program and its arguments."),
        "working_directory": _text("The folder to run it in."),
        "timeout_ms": _TIME,
        "env": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Its environment."},
    }
    return "Runs a command on this machine.", {"type": "object", "properties": properties, "required": ["command"]}


def _local_shell_call(arguments: Fields) -> Fields:
    env = {name: value for name, value in object_of(arguments.get("env")).items() if isinstance(value, str)}
    action: Fields = {"type": "exec", "command": _texts(arguments.get("command")), "env": env}
    action |= {"timeout_ms": _count(arguments.get("timeout_ms")), "user": None}
    return {"action": action | {"working_directory": text_in(arguments.get("working_directory")) or None}}


_PATCH: Final = (
    "Creates, changes or deletes one file.",
    {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            "path": _text("The path of the file."),
            "diff": _text(
                "Not for `delete_file`. A diff in the V4A format, without file headers: `@@`, perhaps with the line "
                "of a class or function after it, begins a hunk, and each of its lines begins with a space (it "
                "stays), - (it goes) or + (it is added). Of a new file each line begins with +."
            ),
        },
        "required": ["type", "path"],
    },
)


def _patch_call(arguments: Fields) -> Fields:
    kind, path = text_in(arguments.get("type")), text_in(arguments.get("path"))
    if kind == "delete_file":
        return {"operation": {"type": kind, "path": path}}
    kind = "create_file" if kind == "create_file" else "update_file"
    return {"operation": {"type": kind, "path": path, "diff": text_in(arguments.get("diff"))}}


def _patched(item: Fields) -> str:
    return text_in(item.get("output")) or text_in(item.get("status"))


def _search(tool: Fields) -> tuple[str, Any]:
    return text_in(tool.get("description")) or "Finds tools that can be called.", tool.get("parameters")


_ALL: Final = (
    BuiltInTool("shell", "shell_call", "shell_call_output", "sh", _shell, _shell_call, lambda item: item.get("action")),
    BuiltInTool(
        "local_shell",
        "local_shell_call",
        "local_shell_call_output",
        "lsh",
        _local_shell,
        _local_shell_call,
        lambda item: {name: value for name, value in object_of(item.get("action")).items() if name != "type"},
    ),
    BuiltInTool(
        "apply_patch",
        "apply_patch_call",
        "apply_patch_call_output",
        "apc",
        lambda _: _PATCH,
        _patch_call,
        lambda item: item.get("operation"),
        _patched,
    ),
    BuiltInTool(
        "tool_search",
        "tool_search_call",
        "tool_search_output",
        "tsc",
        _search,
        lambda arguments: {"arguments": arguments, "execution": "client"},
        lambda item: item.get("arguments"),
    ),
)

_BY_KIND: Final[Mapping[str, BuiltInTool]] = MappingProxyType({each.kind: each for each in _ALL})
CALLS: Final[Mapping[str, BuiltInTool]] = MappingProxyType({each.call: each for each in _ALL})
"""By the type of a call's item."""

RESULTS: Final[Mapping[str, BuiltInTool]] = MappingProxyType({each.result: each for each in _ALL})
"""By the type of a result's item."""


def found(names: Sequence[str]) -> str:
    """The result of a search: the names of what can be called from now on."""
    return f"These tools can be called now: {', '.join(names)}" if names else "No tool was found."


def arguments_text(builtin: BuiltInTool, item: Fields) -> str:
    """The arguments of a call in an earlier turn. Of those that leave a value out it is null there."""
    given = builtin.arguments(item)
    if isinstance(given, dict):
        given = {name: value for name, value in given.items() if value is not None}
    return given if isinstance(given, str) else encoded({} if given is None else given).decode()
