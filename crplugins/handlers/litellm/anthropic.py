"""Anthropic's streams in litellm: an event gets the counts of the events before it that it leaves out.

litellm takes the last event's word for all of them, and 0 for a count: the input is free, or a cached token.
"""

from collections.abc import Mapping
from typing import Any

from crplugins.core.reported_usage import changed_counts
from crplugins.handlers.litellm.usage import fields_of


class CountedBefore:
    """What the events of one stream have counted up to now."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Mapping[str, Any] = {}

    def completed(self, event: Any) -> Any:
        """`event` with the counts that it leaves out; anything else than JSON objects as it is."""
        if not isinstance(event, dict):
            return event
        kind = event.get("type")
        if kind == "message_start":
            counts = fields_of(fields_of(event.get("message")).get("usage"))
            self._counts = {**counts, "output_tokens": 0} if counts else {}  # it counts the first token or two
        elif kind == "message_delta" and self._counts and isinstance(usage := event.get("usage"), dict):
            self._counts = {**self._counts, **changed_counts(usage)}
            return {**event, "usage": self._counts}
        return event
