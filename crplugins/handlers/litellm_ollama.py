"""Ollama's models, told to litellm once.

Of a model that is not in its list litellm asks Ollama's `/api/show` with a blocking client, on the event loop and twice
in every request, at OLLAMA_API_BASE whatever the deployment's own address. A listed model is not asked about.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

PROVIDERS: Final = frozenset({"ollama", "ollama_chat"})
_BASE: Final = "http://localhost:11434"
_PATIENCE_SECONDS: Final = 5.0


def list_ollama_model(litellm: Any, model: str, api_base: str | None) -> None:
    """Enter `model` in litellm's list as its server describes it; not at all if the server cannot be asked. Blocks."""
    key = f"ollama/{model}"
    base = api_base or os.environ.get("OLLAMA_API_BASE") or _BASE
    if key not in litellm.model_cost:
        with suppress(Exception):
            litellm.model_cost[key] = _as_listed(_shown(base, model))


def _shown(base: str, model: str) -> Mapping[str, Any]:
    import httpx  # a part of litellm's import, which has happened by now

    answer = httpx.post(f"{base.rstrip('/')}/api/show", json={"name": model}, timeout=_PATIENCE_SECONDS)
    shown: dict[str, Any] = answer.raise_for_status().json()
    return shown


def _as_listed(shown: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of litellm's list. A model calls functions if its template has a place for tools, as litellm sees it."""
    lengths = (value for name, value in (shown.get("model_info") or {}).items() if "context_length" in name)
    context = next(lengths, None)
    return {
        "litellm_provider": "ollama",
        "mode": "chat",
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
        "max_tokens": context,
        "max_input_tokens": context,
        "max_output_tokens": context,
        "supports_function_calling": "tools" in str(shown.get("template") or "").lower(),
    }
