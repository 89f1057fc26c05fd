"""Which entries of `model_list` are for other APIs than chat completions, or switched off."""

from collections.abc import Mapping
from typing import Any, Final

_CHAT_MODES: Final = frozenset({"chat", "completion", "responses"})
"""What `model_info.mode` says of models that answer chat completions; litellm's bridge serves the last two so."""

_OTHER_MODELS: Final = (
    "text-embedding", "-embedding", "embedding-", "embed-", "/embed", "dall-e", "gpt-image", "whisper", "-transcribe",
    "tts-1", "-tts", "rerank", "-moderation", "imagen-", "imagegeneration", "stable-diffusion", "sora-", "veo-",
    "aws_polly/", "elevenlabs/", "deepgram/", "assemblyai/",
)  # fmt: skip
"""Parts of names that models of other APIs have, and no model of chat completions."""


def why_no_chat(entry: Mapping[str, Any]) -> str | None:
    """Why an entry is not served; None if it may be. What `model_info.mode` says comes before the name of the model."""
    info, params = entry.get("model_info"), entry.get("litellm_params")
    info = info if isinstance(info, Mapping) else {}
    if info.get("blocked") is True:
        return "model_info.blocked is true"
    mode = info.get("mode")
    if isinstance(mode, str) and mode:
        return None if mode in _CHAT_MODES else f"its mode is {mode}, and the gateway serves chat completions"
    model = params.get("model") if isinstance(params, Mapping) else None
    if isinstance(model, str) and any(part in model.lower() for part in _OTHER_MODELS):
        return "a model of this name answers no chat completions; if it does, write model_info.mode chat"
    return None
