"""Anthropic's streams: what their first event has counted holds for the events behind it.

Those have the counts that have changed since, and each server has its own mind about which these are: output alone, all
of them, or null and 0 for what was counted before. litellm takes 0 for the last word, and the input is free.
"""

from collections.abc import Mapping
from typing import Any

from crplugins.handlers.litellm.usage import fields_of


class MessageStart:
    """The first event of one stream."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Mapping[str, Any] = {}

    def completed(self, event: Any) -> Any:
        """`event` with the counts that it leaves out."""
        if not isinstance(event, dict):
            return event
        kind = event.get("type")
        if kind == "message_start":
            self._counts = fields_of(fields_of(event.get("message")).get("usage"))
        elif kind == "message_delta" and self._counts and isinstance(usage := event.get("usage"), dict):
            changed = {name: value for name, value in usage.items() if value or name == "output_tokens"}
            return {**event, "usage": {**self._counts, **changed}}
        return event
