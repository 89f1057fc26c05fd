"""The text, the thoughts and the refusal in a delta or a message, wherever a provider or litellm has put them."""

from collections.abc import Mapping
from typing import Any

from crplugins.core.delta import parts_of, thoughts_in
from crplugins.handlers.litellm.usage import fields_of, plain, text_of


def content_of(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Text and reasoning of either. Reasoning models of Mistral and Databricks put both into an array of parts."""
    content = fields.get("content")
    reasoning = thoughts_in(fields)
    if isinstance(content, str) or not content:
        return content or "", reasoning
    parts = list(parts_of(plain(content)))
    text = "".join(words for kind, words in parts if kind != "thinking")
    return text, reasoning or "".join(words for kind, words in parts if kind == "thinking")


def refusal_of(fields: Mapping[str, Any]) -> str | None:
    """The refusal in a delta or a message. litellm moves it to `provider_specific_fields`."""
    return text_of(fields.get("refusal")) or text_of(fields_of(fields.get("provider_specific_fields")).get("refusal"))
