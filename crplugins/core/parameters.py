"""The names of OpenAI's parameters of chat completions, and how one of them is known in disguise."""

import unicodedata
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

CHAT_PARAMETERS: Final = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n", "parallel_tool_calls", "prediction",
    "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
    "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
})  # fmt: skip

FURTHER_MODELS: Final = frozenset({
    "content_policy_fallbacks", "context_window_fallback_dict", "context_window_fallbacks", "deployment_id",
    "extra_body", "fallbacks", "models", "router_settings_override",
})  # fmt: skip
"""Parameters with which clients of OpenRouter and of LiteLLM's proxy name models besides `model` or in its place. Where
one of these is the upstream it may answer with such a model, which nobody has permitted, limited or priced."""


def normal_form(name: str) -> str:
    """What is left of a name without the differences that some parser does not see.

    Go's ignores case, protobuf's takes `maxTokens` for `max_tokens`, and what was normalised on the way is no longer
    full-width: `Max_Tokens`, `maxTokens`, `max-tokens` and `max_token` with a long s are all one name. Not for names of
    any length: normalising takes more than linear time.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join([c for c in folded if c.isalnum()])


def disguised(names: Iterable[str], known: Mapping[str, str]) -> str | None:
    """The first of `names` that some parser takes for another of them, or for one of `known`; None without one.

    `known` are names by their normal forms, as `by_normal_form` has them.
    """
    seen: dict[str, str] = {}
    for name in names:
        form = normal_form(name)
        if known.get(form, name) != name or seen.setdefault(form, name) != name:
            return name
    return None


def by_normal_form(names: Iterable[str]) -> Mapping[str, str]:
    return MappingProxyType({normal_form(name): name for name in names})
