"""Tool calls of a stream in OpenAI's form: id, type and name on the first fragment of a call, `index` on each."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crplugins.handlers.litellm_fields import fields_of, text_of


class ToolCalls:
    """The tool calls of one choice so far."""

    __slots__ = ("_calls", "_ids")

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}  # the provider's index of the call under way -> ours
        self._ids: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._ids)

    def fragments(self, raw: Any) -> list[dict[str, Any]]:
        """The provider's `tool_calls` of one delta."""
        if not isinstance(raw, Sequence):
            return []
        return [self._fragment(position, fields_of(call)) for position, call in enumerate(raw)]

    def _fragment(self, position: int, call: Mapping[str, Any]) -> dict[str, Any]:
        theirs = call.get("index")
        theirs = theirs if isinstance(theirs, int) else position
        name = text_of(call.get("id"))
        ours = self._calls.get(theirs)
        # Some providers give all parallel calls the index 0, some repeat the id on every fragment.
        if ours is None or (name is not None and name != self._ids[ours]):
            ours = self._calls[theirs] = len(self._ids)
            self._ids.append(name or f"call_{uuid.uuid4().hex}")
            return {"index": ours, "id": self._ids[ours], **_beginning(call)}
        return {"index": ours, **_continuation(call)}


def complete_calls(raw: Any) -> list[dict[str, Any]]:
    """The tool calls of a plain answer."""
    calls = [fields_of(call) for call in raw] if isinstance(raw, Sequence) else []
    return [{"id": text_of(call.get("id")) or f"call_{uuid.uuid4().hex}", **_beginning(call)} for call in calls]


def _beginning(call: Mapping[str, Any]) -> dict[str, Any]:
    if custom := fields_of(call.get("custom")):
        return {"type": "custom", "custom": {"name": custom.get("name") or "", "input": custom.get("input") or ""}}
    function = fields_of(call.get("function"))
    return {
        "type": "function",
        "function": {"name": function.get("name") or "", "arguments": _json_text(function.get("arguments"))},
    }


def _continuation(call: Mapping[str, Any]) -> dict[str, Any]:
    if custom := fields_of(call.get("custom")):
        return {"custom": {"input": custom.get("input") or ""}}
    return {"function": {"arguments": _json_text(fields_of(call.get("function")).get("arguments"))}}


def _json_text(arguments: Any) -> str:
    """Arguments as OpenAI has them, a string of JSON; a few providers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(arguments).decode() if arguments else ""
