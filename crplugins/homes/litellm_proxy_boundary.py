"""The Exchange of the boundary around the whole proxy, for the hooks inside it."""

from contextvars import ContextVar
from typing import Final

from crplugins.core.exchange import Exchange

AROUND: Final[ContextVar[Exchange | None]] = ContextVar("crplugins.litellm_boundary", default=None)
"""Set where the proxy is called; LiteLLM's tasks and its log events inherit it."""


def boundary() -> Exchange | None:
    """None where the plugins run in the hooks."""
    return AROUND.get()
