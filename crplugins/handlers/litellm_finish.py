"""Finish reasons in OpenAI's vocabulary."""

from typing import Any, Final

_OPENAI: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_SAME_AS: Final = {
    "max_tokens": "length", "MAX_TOKENS": "length", "model_length": "length", "compaction": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls", "TOOL_CALL": "tool_calls", "tool_call": "tool_calls",
    "content_filtered": "content_filter", "guardrail_intervened": "content_filter", "refusal": "content_filter",
    "sensitive": "content_filter", "safety": "content_filter", "SAFETY": "content_filter",
    "RECITATION": "content_filter", "ERROR_TOXIC": "content_filter", "OTHER": "content_filter",
    "BLOCKLIST": "content_filter", "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter",
}  # fmt: skip

FAILED: Final = frozenset({"error", "abort"})
"""What stands in place of a finish reason when the model has failed: OpenRouter's word, and vLLM's and SGLang's."""


def finish_reason_of(value: Any) -> str | None:
    """OpenAI's word for a provider's; "stop" for an end that says nothing else, None if there is no end."""
    if not isinstance(value, str) or not value:
        return None
    return value if value in _OPENAI else _SAME_AS.get(value, "stop")
