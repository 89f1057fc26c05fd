"""An answer that ended because the model failed."""

from collections.abc import Mapping
from typing import Any

from crplugins.core.finish_reasons import is_failure
from crplugins.handlers.litellm.usage import UsageObject, fields_of


class ProviderFailed(Exception):
    """The answer reports that the model has failed.

    `error` is the provider's error object, or its text; `usage` are the counts beside it.
    """

    def __init__(self, error: Any, usage: UsageObject | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.usage = usage


def failed(fields: Mapping[str, Any]) -> bool:
    """Whether a choice ended because the model failed, or has an error (OpenRouter). litellm calls that `stop` for some
    of Gemini's reasons."""
    native = fields_of(fields.get("provider_specific_fields")).get("native_finish_reason")
    return is_failure(fields.get("finish_reason")) or is_failure(native) or bool(fields.get("error"))
