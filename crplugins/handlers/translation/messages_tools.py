"""The tools that a client of Messages offers, as functions of chat completions.

Anthropic knows the parameters of some tools that the client runs (its editor, a shell, a memory, a screen), so that a
request names no more than the version. Here they are functions with those parameters, and their calls are told as
Anthropic tells them. What runs at Anthropic stays behind, unless the model must call it.

Which tools there are may change in a conversation: words of the system add some and take some away. One list serves
all turns of a chat completion: it is the one that stands at the end.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from crplugins.core.lenient_json import object_of, objects_of
from crplugins.handlers.protocols import Target
from crplugins.handlers.translation.tool_names import ToolNames, parameters_of
from crplugins.handlers.translation.translation import Fields, invalid, not_translated, objects, text_in, without_none

CHANGES: Final = ("tool_addition", "tool_removal")
"""Blocks of a system that change which tools there are."""

_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


class MessagesTools:
    """The tools of one request.

    Attributes:
        names: what the model reads for their names, and back.
    """

    def __init__(self, asked: Fields) -> None:
        """Tools of another form than Anthropic's count as none: `chosen` refuses them."""
        self._given = asked.get("tools")
        self._tools = [*_tools_in(asked)]
        self.names = ToolNames(("", text_in(tool.get("name"))) for _, tool in self._tools)

    def chosen(self, wanted: Fields, target: Target) -> Fields:
        """The members of a chat completion that offer the tools. Raises `GatewayError` 400."""
        objects(self._given, "tools")
        how, name = text_in(wanted.get("type")), wanted.get("name")
        tools = [self._function(tool, where, target) for where, tool in self._tools]
        if how == "tool" and all(name != tool.get("name") for _, tool in self._tools):
            kind = next((text_in(each.get("type")) for each in objects_of(self._given) if each.get("name") == name), "")
            if kind:
                raise not_translated("tool_choice", f"the tool '{kind[:50]}'")
        if not tools:
            if self._given and how == "any":
                raise not_translated("tool_choice", "a tool that runs at the provider")
            return {}
        choice: Any = _CHOICES.get(how)
        if how == "tool":
            choice = {"type": "function", "function": {"name": self.names.shown(text_in(name))}}
        alone = wanted.get("disable_parallel_tool_use") is True
        return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False if alone else None}

    def _function(self, tool: Fields, where: str, target: Target) -> Fields:
        known = _known(tool)
        if known is None and not isinstance(tool.get("input_schema"), dict):
            raise invalid(f"{where}.input_schema", "an object")
        description, schema = known or (tool.get("description"), tool["input_schema"])
        function = {"name": self.names.shown(text_in(tool.get("name"))), "description": description}
        function |= {"parameters": parameters_of(schema), "strict": tool.get("strict")}
        return {"type": "function", "function": without_none(function), **mark_of(tool, target)}


def mark_of(block: Fields, target: Target) -> Fields:
    """The mark up to which Claude keeps a prompt in its cache."""
    mark = block.get("cache_control")
    return {"cache_control": mark} if target.is_claude and isinstance(mark, dict) else {}


def _tools_in(asked: Fields) -> Iterator[tuple[str, Fields]]:
    """Those that are offered at the end of the conversation and run at the client, each with its place."""
    offered: dict[str, tuple[str, Fields]] = {}
    removed = set[str]()
    given = [(f"tools[{number}]", tool) for number, tool in enumerate(objects_of(asked.get("tools")))]
    for where, tool in [*given, *_changes(asked)]:
        name = text_in(tool.get("name"))
        if tool.get("type") == CHANGES[1]:
            removed.add(name)
        elif tool.get("type") == CHANGES[0]:
            removed.discard(name)
        elif tool.get("type") in (None, "custom") or _known(tool) is not None:
            removed.discard(name)
            offered[name] = where, tool
    yield from (each for name, each in offered.items() if name not in removed)


def _changes(asked: Fields) -> Iterator[tuple[str, Fields]]:
    """What words of the system have added, and the names of what they have added again or taken away."""
    for number, message in enumerate(objects_of(asked.get("messages"))):
        for place, block in enumerate(objects_of(message.get("content"))):
            if block.get("type") in CHANGES:
                where, tool = f"messages[{number}].content[{place}].tool", object_of(block.get("tool"))
                if tool.get("type") == "tool_definition":
                    yield f"{where}.definition", object_of(tool.get("definition"))
                else:
                    yield where, {"type": block["type"], "name": tool.get("name")}


def _text(meaning: str) -> Fields:
    return {"type": "string", "description": meaning}


def _numbers(meaning: str, count: int = 2) -> Fields:
    return {
        "type": "array", "items": {"type": "integer"}, "minItems": count, "maxItems": count, "description": meaning,
    }  # fmt: skip


def _schema(required: str, **properties: Fields) -> Fields:
    return {"type": "object", "properties": properties, "required": required.split()}


def _one_of(*words: str) -> Fields:
    return {"type": "string", "enum": [*words]}


_RANGE: Final = _numbers("The first and the last line to show, from 1; -1 is the end of the file.")
_EDITS: Final = {
    "path": _text("The absolute path of a file or folder."),
    "file_text": _text("`create`: the whole text of the file."),
    "old_str": _text("`str_replace`: the text to replace, which must stand in the file exactly once."),
    "insert_line": {"type": "integer", "description": "`insert`: the line after which to insert; 0 is the beginning."},
    "view_range": _RANGE,
}
_EDITOR: Final = (
    "Shows, creates and edits text files.",
    _schema(
        "command path",
        command=_one_of("view", "create", "str_replace", "insert"),
        **_EDITS,
        new_str=_text("`str_replace`: what stands there then; nothing to delete the text."),
        insert_text=_text("`insert`: the text to insert."),
    ),
)
_FIRST_EDITOR: Final = (
    "Shows, creates and edits text files.",
    _schema(
        "command path",
        command=_one_of("view", "create", "str_replace", "insert", "undo_edit"),
        **_EDITS,
        new_str=_text("`str_replace`: what stands there then. `insert`: the text to insert."),
    ),
)
_MEMORY: Final = (
    "Keeps notes for later conversations as text files in the folder /memories. Look there before you begin.",
    _schema(
        "command",
        command=_one_of("view", "create", "str_replace", "insert", "delete", "rename"),
        **{**_EDITS, "path": _text("The path of a file or folder, which begins with /memories.")},
        new_str=_text("`str_replace`: what stands there then."),
        insert_text=_text("`insert`: the text to insert."),
        old_path=_text("`rename`: the path to rename."),
        new_path=_text("`rename`: its new path."),
    ),
)
_SHELL: Final = (
    "Runs a command in a bash session that goes on between calls.",
    {
        "type": "object",
        "properties": {
            "command": _text("The command to run. Needed unless the session is restarted."),
            "restart": {"type": "boolean", "description": "True to begin a new session."},
        },
    },
)
_SCREEN: Final = (
    "Looks at a screen and uses its mouse and keyboard.",
    _schema(
        "action",
        action=_one_of(
            "screenshot",
            "key",
            "type",
            "hold_key",
            "wait",
            "cursor_position",
            "mouse_move",
            "left_click",
            "right_click",
            "middle_click",
            "double_click",
            "triple_click",
            "left_click_drag",
            "left_mouse_down",
            "left_mouse_up",
            "scroll",
        ),
        coordinate=_numbers("x and y in pixels from the upper left corner."),
        start_coordinate=_numbers("`left_click_drag`: where it begins."),
        text=_text("`type`: the text. `key`, `hold_key`: the keys, such as ctrl+s. Clicks: keys held meanwhile."),
        scroll_direction=_one_of("up", "down", "left", "right"),
        scroll_amount={"type": "integer", "description": "`scroll`: how many steps of the wheel."},
        duration={"type": "number", "description": "`hold_key`, `wait`: seconds."},
    ),
)

_KNOWN: Final[Mapping[str, tuple[str, Fields]]] = MappingProxyType({
    "bash_20241022": _SHELL, "bash_20250124": _SHELL,
    "text_editor_20241022": _FIRST_EDITOR, "text_editor_20250124": _FIRST_EDITOR,
    "text_editor_20250429": _EDITOR, "text_editor_20250728": _EDITOR,
    "memory_20250818": _MEMORY,
    "computer_20241022": _SCREEN, "computer_20250124": _SCREEN, "computer_20251124": _SCREEN,
})  # fmt: skip
"""What Anthropic's tools that a client runs are for, and their parameters (Anthropic, "Tool use")."""


def _known(tool: Fields) -> tuple[str, Fields] | None:
    known = _KNOWN.get(text_in(tool.get("type")))
    if known is not _SCREEN:
        return known
    width, height = tool.get("display_width_px"), tool.get("display_height_px")
    return f"{_SCREEN[0]} It has {width} x {height} pixels.", _SCREEN[1]
