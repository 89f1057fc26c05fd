"""Reads the many shapes of one thing: JSON objects as dicts, OpenAI's and litellm's pydantic models."""

from collections.abc import Mapping
from typing import Any, Final

_NONE: Final[Mapping[str, Any]] = {}


def fields_of(value: Any) -> Mapping[str, Any]:
    """The fields of a JSON object or of a model, unknown ones included; none of anything else.

    Reads pydantic's own storage: `model_dump` copies the whole tree, which costs more than everything done with it.
    """
    if isinstance(value, dict):
        return value
    declared: Mapping[str, Any] = getattr(value, "__dict__", _NONE)
    extra = getattr(value, "__pydantic_extra__", None)
    return {**declared, **extra} if extra else declared


def plain(value: Any) -> Any:
    """`value` as JSON data."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    dump = getattr(value, "model_dump", None)
    return plain(dump()) if callable(dump) else value


def text_of(value: Any) -> str | None:
    """A string that says something."""
    return value if isinstance(value, str) and value else None
