"""Ends the HTTP request behind a provider's stream.

litellm closes a stream that its own handlers made with the response attached; Anthropic's, Bedrock's and some others'
hold only an iterator over the response's lines, and closing that leaves the model generating, and billing, for nobody.
"""

import logging
from collections.abc import Iterator
from inspect import isasyncgen
from typing import Any, Final

logger = logging.getLogger("crplugins.upstream")

_WHERE: Final = ("http_response", "response", "streaming_response", "response_iterator", "completion_stream")
_MAX_DEPTH: Final = 6


async def hang_up(stream: Any) -> None:
    """Close every httpx response reachable from `stream`, which is not being read now. Never raises."""
    for response in list(_responses(stream, set(), _MAX_DEPTH)):
        try:
            await response.aclose()
        except Exception as error:  # the connection may be gone already; then there is nothing left to end
            logger.debug("closing an upstream response failed: %r", error)


def _responses(holder: Any, seen: set[int], depth: int) -> Iterator[Any]:
    if holder is None or id(holder) in seen or depth == 0:
        return
    seen.add(id(holder))
    if type(holder).__name__ == "Response" and hasattr(holder, "aclose"):
        yield holder
        return
    for inner in _held_by(holder):
        yield from _responses(inner, seen, depth - 1)


def _held_by(holder: Any) -> list[Any]:
    """What a stream object keeps in its attributes, or a suspended generator in its variables (`self`, a response)."""
    if not isasyncgen(holder):
        return [getattr(holder, name, None) for name in _WHERE]
    frame = holder.ag_frame
    return [] if frame is None else [value for value in frame.f_locals.values() if _may_hold(value)]


def _may_hold(value: Any) -> bool:
    return isasyncgen(value) or type(value).__name__ == "Response" or any(hasattr(value, name) for name in _WHERE)
