"""Why an answer has ended: OpenAI's word for that of any provider, and the words that are no end or a failure.

The one list, for every home. Providers write them in lower and in upper case.
"""

from typing import Final

_NO_END: Final = frozenset({"", "null", "none", "load"})
"""What some providers write on every chunk instead of null (Ollama, SGLang, LocalAI, GLM), and Ollama once it has
loaded a model."""

_FAILURES: Final = frozenset({
    "error", "abort", "aborted", "network_error", "insufficient_system_resource", "timeout", "malformed_model_output",
    "malformed_tool_use", "malformed_function_call", "malformed_response", "unexpected_tool_call",
    "too_many_tool_calls", "missing_thought_signature", "upstream_error", "gateway_error", "server_error",
    "internal_error", "failed",
})  # fmt: skip
"""The model has failed, or was given up: OpenRouter's, vLLM's and SGLang's, Zhipu's, DeepSeek's, Cohere's, Bedrock's,
Gemini's, and those of gateways."""

_FILTERED_CALL: Final = "function_call_filter:"
"""So Gemini's OpenAI endpoint begins the reason why a call of its model is none."""

_OPENAIS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})

_OPENAIS_NAMES: Final = {
    "max_tokens": "length", "model_length": "length", "compaction": "length", "model_context_window_exceeded": "length",
    "tool_use": "tool_calls", "tool_call": "tool_calls",
    "content_filtered": "content_filter", "guardrail_intervened": "content_filter", "refusal": "content_filter",
    "sensitive": "content_filter", "safety": "content_filter", "recitation": "content_filter",
    "error_toxic": "content_filter", "other": "content_filter", "blocklist": "content_filter",
    "prohibited_content": "content_filter", "spii": "content_filter",
}  # fmt: skip


def reason_in(told: object) -> object:
    """The word in a finish reason, which SGLang's engine writes as an object with a `type`."""
    return told.get("type") if isinstance(told, dict) else told


def is_end(finish_reason: object) -> bool:
    """Whether a `finish_reason` ends its choice: a word that is neither a filler nor a failure."""
    if not isinstance(finish_reason, str):
        return False
    return finish_reason in _OPENAIS or not (finish_reason.lower() in _NO_END or is_failure(finish_reason))


def is_failure(finish_reason: object) -> bool:
    """Whether a `finish_reason` says that the model or its provider has failed."""
    if not isinstance(finish_reason, str):
        return False
    word = finish_reason.lower()
    return word in _FAILURES or word.startswith(_FILTERED_CALL)


def openais_reason(finish_reason: object) -> str | None:
    """OpenAI's word for it; "stop" for one that is not known, None if it is none."""
    if not isinstance(finish_reason, str) or (word := finish_reason.lower()) in _NO_END:
        return None
    return word if word in _OPENAIS else _OPENAIS_NAMES.get(word, "stop")
