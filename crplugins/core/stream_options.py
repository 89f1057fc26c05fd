"""`stream_options`, which some upstreams refuse: Mistral with 422, Fireworks, Databricks and old relays with 400.

None of them says so before it is asked, so it is learnt from a refusal and kept for a while. It is kept for everybody,
and what a refusal says may hold a client's own words. So nothing is learnt before the same request without it has
succeeded, and what is learnt counts only for requests with the same parameters: some refuse it beside another one.
"""

import re
from collections.abc import Iterable
from typing import Final

from crplugins.core.body import Body
from crplugins.core.bounded_map import BoundedMap

STREAM_OPTIONS: Final = "stream_options"
USAGE_ONLY: Final = {"include_usage": True}
REMEMBERED_SECONDS: Final = 3600.0
_REMEMBERED: Final = 1000


_AS_A_WORD: Final = re.compile(r"(?<![\w-])stream_options(?![\w-])")


def names_stream_options(status: int, text: str) -> bool:
    """Whether a refusal with this status and text is about `stream_options`. `xstream_options` is another word."""
    return status in (400, 422) and _AS_A_WORD.search(text) is not None


def asks_for_usage_only(body: Body) -> bool:
    """Whether `stream_options` holds nothing but what is asked for everybody.

    Other options are the client's own: their refusal says nothing about the upstream, and believing it would let a
    client with a broken option end the metering of everybody else.
    """
    return bool(body.get(STREAM_OPTIONS) == USAGE_ONLY)


class StreamOptionsRefused:
    """Who refuses `stream_options` beside which parameters, for an hour each.

    To be told of a refusal only once the same request without them has succeeded.
    """

    def __init__(self, seconds: float = REMEMBERED_SECONDS) -> None:
        self._seconds = seconds
        # Bounded, because names of models and parameters may come from clients. A lost one is learnt again.
        self._until: Final[BoundedMap[tuple[str, frozenset[str]], float]] = BoundedMap(_REMEMBERED)

    def remember(self, model: str, parameters: Iterable[str], now: float) -> None:
        """`parameters` are the names of the request's, `now` is monotonic seconds."""
        self._until[_request(model, parameters)] = now + self._seconds

    def known(self, model: str, parameters: Iterable[str], now: float) -> bool:
        until = self._until.get(_request(model, parameters)) if self._until else None
        return until is not None and now < until


def _request(model: str, parameters: Iterable[str]) -> tuple[str, frozenset[str]]:
    return model, frozenset(parameters) - {STREAM_OPTIONS}
