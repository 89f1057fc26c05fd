"""What is not right yet, by request, with the reason."""

_REASONS: dict[str, tuple[str, ...]] = {
    "litellm drops Cohere's thinking": ("cohere.litellm.thinking.plain",),
    "an event that is neither a chunk nor an error passes through": ("mistral.foreign.error-inside.streamed",),
    "an error that is a text, not an object, passes through": ("xai.foreign.error-inside.streamed",),
    "before a foreign app no [DONE] follows an error of its own": (
        "gemini-openai.foreign.error-inside.streamed",
        "deepseek.foreign.error-inside.streamed",
        "ollama-openai.foreign.error-inside.streamed",
        "openrouter.foreign.error-inside.streamed",
        "groq.foreign.error-inside.streamed",
        "azure.foreign.error-inside.streamed",
        "azure-asynchronous-filter.foreign.error-inside.streamed",
        "kimi.foreign.error-inside.streamed",
    ),
    "the finish reason `network_error` is no failure": ("glm.foreign.error-inside.streamed",),
    "an event without data passes through": ("llama-cpp.foreign.error-inside.streamed",),
}
PENDING = {key: reason for reason, keys in _REASONS.items() for key in keys}
