"""What a model has generated and nobody has seen: reasoning that the provider keeps to itself.

It shows in one way alone, as silence: before the first token, and sometimes between two, or between the last one and
the moment in which the client disconnects. So the silence of an answer that was given up counts as generation, at the
rate of the model's finished answers.
"""

from typing import Final, NamedTuple

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.exchange import Exchange

FIRST_PATIENCE: Final = 1.0
"""Seconds before the first token that are no generation: the network, the queue, the reading of the prompt."""

PATIENCE: Final = 5.0
"""Seconds of a later silence that are none. A model that has begun to speak seldom thinks again: it is stuck."""

TOKENS_PER_SECOND: Final = 50.0
"""For a model of which nothing is known. GPT-5 writes 80 tokens a second at OpenAI, o3 115, GPT-4o 30 to 60."""

MOST_TOKENS: Final = 8192
"""More hidden tokens than these are never made of silence, unless the client's own limit is less."""

_MEMORY: Final = 0.9
"""How much of what was known of a model is left when one more answer is known."""


class Pace(NamedTuple):
    """So many tokens were hidden in so many seconds of silence."""

    seconds: float = 4.0
    tokens: float = 4.0 * TOKENS_PER_SECOND


_UNKNOWN: Final = Pace()


class HiddenOutput:
    """Estimates hidden tokens of answers that were given up, and learns from those that came to their end.

    A model that hides nothing, on a server that keeps requests waiting, is known as such after a few of them. Each key
    learns for itself: what one asks for must not change what another's answers are taken to be.
    """

    def __init__(self) -> None:
        self._paces: Final[BoundedMap[tuple[str, str, bool], Pace]] = BoundedMap()

    def learn(self, exchange: Exchange) -> None:
        """An answer is over. One that its provider has counted, and that had a silence, says how fast its model is."""
        usage, timings = exchange.usage, exchange.timings
        if exchange.outcome != "ok" or usage is None or exchange.usage_source != "provider" or exchange.spent:
            return
        if timings.ended is None or timings.ended - timings.started <= FIRST_PATIENCE:  # it had no time for a silence
            return
        if (seconds := silence(exchange)) > 0:
            pace, hidden = self._pace(exchange), max(usage.output_tokens - exchange.said.tokens(), 0)
            self._paces[_key(exchange)] = Pace(pace.seconds * _MEMORY + seconds, pace.tokens * _MEMORY + hidden)

    def tokens(self, exchange: Exchange, limit: int | None) -> int:
        """Hidden tokens of an answer that its client has given up; 0 for every other, and for one counted to its end.

        `limit` is the client's own, of all output together.
        """
        if exchange.outcome != "cancelled" or _is_counted(exchange):
            return 0
        pace = self._pace(exchange)
        hidden = min(int(silence(exchange) * pace.tokens / pace.seconds), MOST_TOKENS)
        return hidden if limit is None else max(min(hidden, limit - exchange.said.tokens()), 0)

    def _pace(self, exchange: Exchange) -> Pace:
        return self._paces.get(_key(exchange), _UNKNOWN)


def _key(exchange: Exchange) -> tuple[str, str, bool]:
    """A plain answer is silent to its end whatever the model does, so both kinds are known apart."""
    caller = "" if exchange.principal is None else exchange.principal.key_id
    return caller, exchange.served_model or exchange.requested_model or "", exchange.stream


def _is_counted(exchange: Exchange) -> bool:
    """Whether the provider's count is that of the whole answer."""
    counted = exchange.answer_source == "provider" and exchange.finish_reason is not None
    return counted and exchange.counted_to == exchange.said.mark()


def silence(exchange: Exchange) -> float:
    """Seconds in which the last provider that was called was silent for longer than patience, and had not counted."""
    timings, ended = exchange.timings, exchange.timings.ended
    begun = exchange.attempts[-1].started if exchange.attempts else timings.app
    if begun is None or ended is None:
        return 0.0
    given_up = exchange.outcome == "cancelled"
    if given_up and exchange.reported is not None and exchange.counted_at is not None:
        begun = max(begun, exchange.counted_at)
    first, last = timings.first_token, timings.last_token
    if first is None or last is None:
        return max(ended - begun - FIRST_PATIENCE, 0.0)
    seconds = max(first - begun - FIRST_PATIENCE, 0.0)
    if first >= begun:  # else the longest gap may have been counted
        seconds += max(timings.longest_gap - PATIENCE, 0.0)
    return seconds + (max(ended - max(last, begun) - PATIENCE, 0.0) if given_up else 0.0)
