"""`stream_options`, which some upstreams refuse: Mistral with 422, Fireworks, Databricks and old relays with 400.

None of them says so before it is asked, so it is learnt from a refusal and kept for a while.
"""

from typing import Final

from crplugins.core.body import Body
from crplugins.core.bounded_map import BoundedMap

STREAM_OPTIONS: Final = "stream_options"
USAGE_ONLY: Final = {"include_usage": True}
REMEMBERED_SECONDS: Final = 3600.0
_REMEMBERED: Final = 1000


def names_stream_options(status: int, text: str) -> bool:
    """Whether a refusal with this status and text is about `stream_options`."""
    return status in (400, 422) and STREAM_OPTIONS in text


def asks_for_usage_only(body: Body) -> bool:
    """Whether `stream_options` holds nothing but what is asked for everybody.

    Other options are the client's own: their refusal says nothing about the upstream, and believing it would let a
    client with a broken option end the metering of everybody else.
    """
    return bool(body.get(STREAM_OPTIONS) == USAGE_ONLY)


class StreamOptionsRefused:
    """Who refuses `stream_options`, by any name, for an hour each."""

    def __init__(self, seconds: float = REMEMBERED_SECONDS) -> None:
        self._seconds = seconds
        self._until: Final[BoundedMap[str, float]] = BoundedMap(_REMEMBERED)  # names may come from clients

    def remember(self, name: str, now: float) -> None:
        """`now` in monotonic seconds."""
        self._until[name] = now + self._seconds

    def known(self, name: str, now: float) -> bool:
        until = self._until.get(name) if self._until else None
        return until is not None and now < until
