"""Which entries of `model_list` are for protocols that the gateway does not have, for another environment, or off."""

from collections.abc import Mapping
from typing import Any, Final

_SERVED_MODES: Final = frozenset({"chat", "completion", "embedding", "responses"})
"""What `model_info.mode` says of models whose protocols the gateway knows."""

_PASSED_MODES: Final = frozenset({
    "rerank", "moderation", "image_generation", "image_edit", "audio_transcription", "audio_speech",
})  # fmt: skip
"""The same of protocols that pass as they are, to an upstream with OpenAI's wire. litellm translates none of them."""

_OTHER_MODES: Final = frozenset({
    "batch", "decisions", "evaluation", "extraction", "guardrail", "ocr", "realtime", "search", "vector_store",
    "video_generation",
})  # fmt: skip
"""The same of protocols that the gateway has for nobody."""

MODES: Final = _SERVED_MODES | _PASSED_MODES | _OTHER_MODES
"""The words that LiteLLM has for `model_info.mode`. Another one says nothing about a model, there and here."""

ENVIRONMENT: Final = "LITELLM_ENVIRONMENT"
"""The variable that says in which environment models are served."""

_OPENAIS_MODELS: Final = ("dall-e", "gpt-image", "whisper", "-transcribe", "tts-1", "-tts", "rerank", "-moderation")
"""Parts of names that models of these protocols have, and no other model."""

_FILM_MODELS: Final = ("sora-", "veo-")
"""The same of a protocol that the gateway has for nobody."""

_OTHER_MODELS: Final = (
    *_OPENAIS_MODELS, *_FILM_MODELS, "imagen-", "imagegeneration", "stable-diffusion",
    "aws_polly/", "elevenlabs/", "deepgram/", "assemblyai/", "runwayml/", "vertex_ai/chirp", "semantic-ranker",
)  # fmt: skip
"""The same of all protocols but those that litellm translates."""

_ROUTER: Final = "auto_router"
"""The provider of a model that LiteLLM's router chooses by what a request says."""

_PROMPT_KEEPERS: Final = frozenset({
    "arize_phoenix", "bitbucket", "dotprompt", "generic_prompt_management", "gitlab", "humanloop", "langfuse",
})  # fmt: skip
"""What stands in place of a provider where LiteLLM's proxy takes the prompt from there."""

_OPENAIS_WIRE: Final = frozenset({"openai", "custom_openai", "openai_like", "hosted_vllm"})
"""Providers whose models are asked in OpenAI's wire."""


def why_unserved(entry: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """Why an entry is not served; None if it may be. What `model_info.mode` says comes before the name of the model."""
    info, params = entry.get("model_info"), entry.get("litellm_params")
    info = info if isinstance(info, Mapping) else {}
    if info.get("blocked") is True:
        return "model_info.blocked is true"
    environments, here = info.get("supported_environments"), environ.get(ENVIRONMENT)
    if here and isinstance(environments, list | tuple) and here not in environments:
        return f"{ENVIRONMENT} is {here}, which model_info.supported_environments does not name"
    mode = info.get("mode")
    model = params.get("model") if isinstance(params, Mapping) else None
    if isinstance(model, str) and (why := _why_nobody_has_it(model)) is not None:
        return why
    passes = isinstance(model, str) and _passes(model, entry.get("handler"))
    if isinstance(mode, str) and mode in MODES:
        if mode in _SERVED_MODES or (passes and mode in _PASSED_MODES):
            return None
        where = " but from upstreams with OpenAI's wire (direct)" if mode in _PASSED_MODES else ""
        return f"its mode is {mode}, which the gateway does not serve{where}"
    if not isinstance(model, str):
        return None
    named = model.lower()
    if any(map(named.__contains__, _FILM_MODELS if passes else _OTHER_MODELS)):
        return "a model of this name answers in no protocol of the gateway; if it does, write model_info.mode chat"
    return None


def _why_nobody_has_it(model: str) -> str | None:
    """Why no provider has a model of this name, whose first part says what LiteLLM's proxy does before it asks one."""
    first, slash, rest = model.partition("/")
    if not slash:
        return None
    if first == _ROUTER:
        return "it stands for LiteLLM's own choice by what a request says; clients ask for one of its models by name"
    if first in _PROMPT_KEEPERS:
        return f"its prompt is kept in {first}, where only LiteLLM's proxy looks; write the provider before '{rest}'"
    return None


def _passes(model: str, handler: Any) -> bool:
    """Whether a model is asked in OpenAI's wire, as far as its name says it: without a provider, OpenAI's own."""
    if handler == "litellm":
        return False
    provider, slash, _ = model.partition("/")
    if not slash:
        return any(part in model.lower() for part in _OPENAIS_MODELS)
    return provider in _OPENAIS_WIRE or handler == "direct"
