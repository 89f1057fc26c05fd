"""Prefill: which providers go on with an answer whose beginning they are given, and how they are asked to.

A provider that is not in the table answers anew: its answer would be said twice, so it is not asked. One that refuses a
beginning says so with a 400, and the next one is asked.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from crplugins.handlers.deployment import Deployment

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Prefill(msgspec.Struct, frozen=True):
    """How one provider is asked to go on.

    Attributes:
        message: what stands in the last message beside role and content, and `parameters` in the request.
        repeats: the answer may begin with what it was given.
        trims: white space at the end of what it is given is refused.
    """

    message: Mapping[str, Any] = _NOTHING
    parameters: Mapping[str, Any] = _NOTHING
    repeats: bool = False
    trims: bool = False


_AS_IT_IS: Final = Prefill()
_CLAUDE: Final = Prefill(trims=True)
_PROVIDERS: Final[Mapping[str, Prefill]] = MappingProxyType({
    # https://docs.anthropic.com/en/docs/build-with-claude/prompt-engineering/prefill-claudes-response
    "anthropic": _CLAUDE, "bedrock": _CLAUDE, "vertex_ai": _CLAUDE,
    # https://api-docs.deepseek.com/guides/chat_prefix_completion
    "deepseek": Prefill(message={"prefix": True}),
    # https://docs.mistral.ai/api (AssistantMessage.prefix)
    "mistral": Prefill(message={"prefix": True}, repeats=True),
    # https://platform.kimi.ai/docs/guide/use-partial-mode-feature-of-kimi-api
    "moonshot": Prefill(message={"partial": True}),
    # https://console.groq.com/docs/prefilling
    "groq": _AS_IT_IS,
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html (extra parameters of chat completions)
    "hosted_vllm": Prefill(parameters={"continue_final_message": True, "add_generation_prompt": False}),
})  # fmt: skip
"""By the provider's name in LiteLLM's notation."""

_CLAUDES: Final = ("-2", "-3", "-instant", "-4-0", "-4-1", "-4-2025", "-4@2025", "-4-5")
"""Models of Anthropic that take a beginning, wherever they are served. Later ones refuse it."""


def prefill_of(deployment: Deployment) -> Prefill | None:
    """How the provider of a deployment is asked to go on; None if it cannot be."""
    found = _PROVIDERS.get(deployment.provider)
    if deployment.takes_prefill is not None:
        return (found or _AS_IT_IS) if deployment.takes_prefill else None
    if found is _CLAUDE and not any(name in deployment.model.partition("claude")[2] for name in _CLAUDES):
        return None
    if deployment.provider == "deepseek" and not (deployment.api_base or "/beta").endswith("/beta"):
        return None
    return found
