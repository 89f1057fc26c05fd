"""Why an answer ended: OpenAI's reasons for those of every provider, and the reasons that are failures."""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.handlers.litellm.usage import UsageObject, fields_of

_FINISH_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
# Finish reasons of other providers, and what OpenAI calls them.
_OPENAI_NAMES: Final = {
    "max_tokens": "length", "MAX_TOKENS": "length", "model_length": "length", "compaction": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls", "TOOL_CALL": "tool_calls", "tool_call": "tool_calls",
    "content_filtered": "content_filter", "guardrail_intervened": "content_filter", "refusal": "content_filter",
    "sensitive": "content_filter", "safety": "content_filter", "SAFETY": "content_filter",
    "RECITATION": "content_filter", "ERROR_TOXIC": "content_filter", "OTHER": "content_filter",
    "BLOCKLIST": "content_filter", "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter",
}  # fmt: skip

_FAILED: Final = frozenset({
    "error", "abort", "network_error", "ERROR", "TIMEOUT", "malformed_model_output", "malformed_tool_use",
    "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE", "malformed_function_call", "unexpected_tool_call",
})  # fmt: skip
"""The finish reasons for a model that has failed: of OpenRouter, of vLLM and SGLang, Zhipu, Cohere, Bedrock, Gemini."""


_NO_ENDS: Final = frozenset({"", "null", "load"})
"""What some providers send on every chunk, and Ollama once it has loaded a model."""


class ProviderFailed(Exception):
    """The answer reports that the model has failed.

    `error` is the provider's error object, or its text; `usage` are the counts beside it.
    """

    def __init__(self, error: Any, usage: UsageObject | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.usage = usage


def failed(fields: Mapping[str, Any]) -> bool:
    """Whether a choice ended because the model failed. litellm calls that `stop` for some of Gemini's reasons."""
    native = fields_of(fields.get("provider_specific_fields")).get("native_finish_reason")
    return is_failure(fields.get("finish_reason")) or is_failure(native)


def is_failure(reason: Any) -> bool:
    """Whether this finish reason of any provider says that the model failed."""
    return isinstance(reason, str) and reason in _FAILED


def finish_reason_of(value: Any) -> str | None:
    """OpenAI's finish reason for a provider's; "stop" for one that is not known, None if there is none."""
    if not isinstance(value, str) or value in _NO_ENDS:
        return None
    return value if value in _FINISH_REASONS else _OPENAI_NAMES.get(value, "stop")
