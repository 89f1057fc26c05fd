"""Tool calls in OpenAI's form, from the fragments of every provider's streams and from whole answers."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crplugins.handlers.litellm.usage import fields_of, plain, text_of


class ToolCalls:
    """The tool calls of one choice so far."""

    __slots__ = ("_arguments", "_calls", "_functions", "_ids", "_names")

    def __init__(self) -> None:
        self._arguments: list[list[str]] = []  # the pieces of each call
        self._calls: dict[int, int] = {}  # the provider's index of the call under way -> ours
        self._functions: list[int] = []  # the calls of functions, among those of custom tools
        self._ids: list[str] = []
        self._names: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._ids)

    @property
    def lack_a_name(self) -> bool:
        """One of them has begun without saying which tool it calls."""
        return "" in self._names

    def fragments(self, raw: Any) -> list[dict[str, Any]]:
        """The provider's `tool_calls` of one delta."""
        if not isinstance(raw, Sequence):
            return []
        return [self._fragment(position, fields_of(call)) for position, call in enumerate(raw)]

    def without_arguments(self) -> list[dict[str, Any]]:
        """At the end: a fragment for each function that was called with none. OpenAI sends an empty object for those,
        and clients decode the text whatever it is (Cohere and Anthropic send no text)."""
        return [
            {"index": ours, "function": {"arguments": "{}"}}
            for ours in self._functions
            if not any(self._arguments[ours])
        ]

    def _fragment(self, position: int, call: Mapping[str, Any]) -> dict[str, Any]:
        theirs = call.get("index")
        theirs = theirs if isinstance(theirs, int) else position
        ours = self._calls.get(theirs)
        if ours is None or self._begins(call, ours):
            ours = self._calls[theirs] = len(self._ids)
            self._ids.append(text_of(call.get("id")) or f"call_{uuid.uuid4().hex}")
            self._names.append(_name_of(call) or "")
            beginning = _beginning(call)
            self._arguments.append([_arguments_of(beginning)])
            if "function" in beginning:
                self._functions.append(ours)
            return {"index": ours, "id": self._ids[ours], **beginning}
        continuation = _continuation(call)
        self._arguments[ours].append(_arguments_of(continuation))
        return {"index": ours, **continuation}

    def _begins(self, call: Mapping[str, Any], ours: int) -> bool:
        """Whether a fragment under an index in use begins another call: some providers give all parallel calls the
        index 0.

        A call begins with the name of its function. Some providers repeat the name on every fragment, with one id, or
        with a new one each time, and some send no id; a call whose arguments are whole is over then. A new id without
        a name is the same call still.
        """
        name, call_id = _name_of(call), text_of(call.get("id"))
        if name is None or call_id == self._ids[ours]:
            return False
        pieces = self._arguments[ours]
        if call_id is None:
            return _is_whole(pieces)
        return name != self._names[ours] or _is_whole(pieces) or not any(piece.strip() for piece in pieces)


def _name_of(call: Mapping[str, Any]) -> str | None:
    return text_of(fields_of(call.get("function")).get("name") or fields_of(call.get("custom")).get("name"))


def _arguments_of(fragment: Mapping[str, Any]) -> str:
    """The arguments of a repaired fragment, without the name."""
    function = fragment.get("function") or fragment.get("custom") or {}
    return str(function.get("arguments") or function.get("input") or "")


def _is_whole(pieces: Sequence[str]) -> bool:
    """Whether these are the whole arguments of a call."""
    last = next((piece for piece in reversed(pieces) if piece.strip()), "")
    if not last.rstrip().endswith("}"):  # most fragments, which need not be joined to be decoded
        return False
    try:
        return isinstance(msgspec.json.decode("".join(pieces)), dict)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False


def complete_calls(raw: Any) -> list[dict[str, Any]]:
    """The tool calls of a plain answer."""
    calls = [fields_of(call) for call in raw] if isinstance(raw, Sequence) else []
    made = [{"id": text_of(call.get("id")) or f"call_{uuid.uuid4().hex}", **_beginning(call)} for call in calls]
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
