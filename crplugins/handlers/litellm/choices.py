"""Choices of tools that litellm does not write, said by the tools that are offered.

litellm refuses a custom tool that is demanded, of whatever provider, and a list of allowed tools of most, without
asking anybody. To offer only these tools means the same, and every provider is told it.
"""

from collections.abc import Mapping
from typing import Any

from crplugins.core.errors import GatewayError
from crplugins.core.lenient_json import object_of, objects_of


def with_choice_by_tools(sent: Mapping[str, Any], *, allows_tools: bool) -> Mapping[str, Any]:
    """The parameters with a choice that litellm writes.

    Args:
        sent: parameters of a chat completion.
        allows_tools: litellm sends this provider a list of allowed tools as it is.

    Raises `GatewayError` 400 where the choice names no tool that is there.
    """
    choice = object_of(sent.get("tool_choice"))
    kind = choice.get("type")
    mode: Any = "required"
    if kind == "custom":
        named = [choice]
    elif kind == "allowed_tools" and not allows_tools:
        allowed = object_of(choice.get("allowed_tools"))
        named, mode = objects_of(allowed.get("tools")), allowed.get("mode")
    else:
        return sent
    names = list(map(_name_of, named))
    tools = [tool for tool in objects_of(sent.get("tools")) if _name_of(tool) in names]
    if not tools:
        sentence = "Invalid 'tool_choice': it names none of the tools in 'tools'."
        raise GatewayError(400, sentence, param="tool_choice", code="invalid_value")
    return {**sent, "tools": tools, "tool_choice": mode}


def _name_of(tool: Mapping[str, Any]) -> tuple[Any, Any]:
    """What tells a tool from others, wherever it is named."""
    kind = tool.get("type")
    inner = tool.get(kind) if isinstance(kind, str) else None
    return kind, object_of(inner).get("name") or tool.get("name")
