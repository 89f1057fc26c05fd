"""Gemini's conversations, in which litellm makes one call of two that are equal: of a name, with the same arguments.

Gemini then refuses the request, as it has more results than calls, or a client that asks twice on purpose (to throw two
dice) is not understood.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from importlib import import_module
from typing import Any, Final

GOOGLES_PROVIDERS: Final = frozenset({"gemini", "vertex_ai", "vertex_ai_beta"})

_CALL: Final = "function_call"


def keep_equal_calls() -> None:
    """Lets each call of a conversation be one of its own. A release of litellm that looks for equal ones in another
    place, or no more, is left as it is. Without effect the second time."""
    with suppress(ImportError, AttributeError):
        written: Any = import_module("litellm.llms.vertex_ai.gemini.transformation")
        if not hasattr(written.check_if_part_exists_in_parts, "__wrapped__"):
            written.check_if_part_exists_in_parts = _but_for_calls(written.check_if_part_exists_in_parts)


def _but_for_calls(exists: Callable[..., bool]) -> Callable[..., bool]:
    @wraps(exists)
    def is_there(parts: Any, part: Any, *arguments: Any, **words: Any) -> bool:
        return _CALL not in part and exists(parts, part, *arguments, **words)

    return is_there
