"""Which entries of `model_list` are for protocols that the gateway does not have, or switched off."""

from collections.abc import Mapping
from typing import Any, Final

_SERVED_MODES: Final = frozenset({"chat", "completion", "embedding", "responses"})
"""What `model_info.mode` says of models whose protocols the gateway knows."""

_OTHER_MODELS: Final = (
    "dall-e", "gpt-image", "whisper", "-transcribe",
    "tts-1", "-tts", "rerank", "-moderation", "imagen-", "imagegeneration", "stable-diffusion", "sora-", "veo-",
    "aws_polly/", "elevenlabs/", "deepgram/", "assemblyai/",
)  # fmt: skip
"""Parts of names that models of other protocols have, and no other model."""


def why_unserved(entry: Mapping[str, Any]) -> str | None:
    """Why an entry is not served; None if it may be. What `model_info.mode` says comes before the name of the model."""
    info, params = entry.get("model_info"), entry.get("litellm_params")
    info = info if isinstance(info, Mapping) else {}
    if info.get("blocked") is True:
        return "model_info.blocked is true"
    mode = info.get("mode")
    if isinstance(mode, str) and mode:
        return None if mode in _SERVED_MODES else f"its mode is {mode}, which the gateway does not serve"
    model = params.get("model") if isinstance(params, Mapping) else None
    if isinstance(model, str) and any(part in model.lower() for part in _OTHER_MODELS):
        return "a model of this name answers in no protocol of the gateway; if it does, write model_info.mode chat"
    return None
