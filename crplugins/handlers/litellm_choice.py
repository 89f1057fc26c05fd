"""One choice of a streamed answer, its deltas repaired to OpenAI's exact form."""

from collections.abc import Mapping
from typing import Any

from crplugins.handlers.litellm_fields import fields_of, plain, text_of
from crplugins.handlers.litellm_tool_calls import ToolCalls

Delta = dict[str, Any]

_AS_THEY_ARE = ("annotations", "audio", "images")


class ChoiceState:
    """What one index of a stream has said so far. `text` keeps its words for an estimate of its tokens."""

    __slots__ = ("_begun", "finished", "text", "tool_calls")

    def __init__(self) -> None:
        self._begun = False
        self.finished = False
        self.tool_calls = ToolCalls()
        self.text: list[str] = []

    def delta(self, raw: Any) -> Delta:
        """The delta to send for the provider's; empty if that says nothing new.

        The first one has the role, whatever the provider leaves out; no later one has it, whatever it repeats.
        """
        fields = fields_of(raw)
        delta = self._said(fields)
        if self._begun:
            return delta
        self._begun = True
        content = None if "tool_calls" in delta else ""
        return {"role": "assistant", "content": content, "refusal": None, **delta}

    def _said(self, fields: Mapping[str, Any]) -> Delta:
        delta: Delta = {}
        content, reasoning = _content(fields)
        if content:
            delta["content"] = content
            self.text.append(content)
        if reasoning:
            delta["reasoning_content"] = reasoning
            self.text.append(reasoning)
        if refusal := refusal_of(fields):
            delta["refusal"] = refusal
            self.text.append(refusal)
        if calls := fields.get("tool_calls"):
            delta["tool_calls"] = self.tool_calls.fragments(calls)
            self.text.extend(_arguments(call) for call in delta["tool_calls"])
        if call := fields.get("function_call"):
            delta["function_call"] = {k: v for k, v in fields_of(call).items() if v is not None}
        for name in _AS_THEY_ARE:
            if value := fields.get(name):
                delta[name] = plain(value)
        return delta


def _content(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Text and reasoning of a delta. Mistral's reasoning models put both into an array of parts."""
    content = fields.get("content")
    reasoning = text_of(fields.get("reasoning_content")) or text_of(fields.get("reasoning")) or ""
    if isinstance(content, str) or not content:
        return content or "", reasoning
    parts = [fields_of(part) for part in content] if isinstance(content, list) else []
    text = "".join(_text(part) for part in parts if part.get("type") == "text")
    thoughts = [fields_of(thought) for part in parts for thought in part.get("thinking") or ()]
    return text, reasoning + "".join(_text(thought) for thought in thoughts)


def _text(part: Mapping[str, Any]) -> str:
    return text_of(part.get("text")) or ""


def refusal_of(fields: Mapping[str, Any]) -> str | None:
    """The refusal in a delta or a message. litellm moves it to `provider_specific_fields`."""
    return text_of(fields.get("refusal")) or text_of(fields_of(fields.get("provider_specific_fields")).get("refusal"))


def _arguments(fragment: Mapping[str, Any]) -> str:
    function = fragment.get("function") or fragment.get("custom") or {}
    return f"{function.get('name', '')}{function.get('arguments') or function.get('input') or ''}"
