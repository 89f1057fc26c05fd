"""AdaptiveConcurrency: how many requests at once a deployment is sent, as its answers say.

Additive increase, multiplicative decrease, as TCP's congestion avoidance (RFC 5681): each answer in time raises the
limit by a part of one, so by one in the time of a round of answers; a 429, a time-out, or first tokens that come late
lower it by a factor, once for all requests that were sent before.
"""

import math
from typing import Final

START: Final = 8.0
MOST: Final = 256
"""Where `max_parallel_requests` names no other bound."""

_REFUSED: Final = 0.7
_LATE: Final = 0.9
TOLERANCE: Final = 2.0
"""How many times its own baseline the time to the first token may be."""

_SMOOTHED: Final = 0.1
"""The weight of the newest first token."""

_FORGOTTEN: Final = 600.0
"""Seconds in which the baseline follows slower first tokens by two thirds: a model that has become slow for good is not
held at one request for ever. Faster ones it follows at once."""

_ENOUGH: Final = 10
"""First tokens before any of them is late."""


class AdaptiveConcurrency:
    """Of one deployment in this process. Moments are seconds of one monotonic clock.

    Args:
        most: the upper bound. The lower one is 1.

    Attributes:
        running: how many requests are with the deployment now; to be kept by who sends them.
    """

    def __init__(self, most: int) -> None:
        self.running = 0
        self._most: Final = most
        self._limit = min(START, float(most))
        self._lowered_at = -math.inf
        self._recent = 0.0
        self._baseline = 0.0
        self._seen = 0
        self._seen_at = 0.0

    @property
    def limit(self) -> int:
        return int(self._limit)

    def answered(self, sent_at: float, now: float, *, stream: bool) -> None:
        """A request has been answered: a plain one in whole, a stream by its first token."""
        if stream and self._is_late(now - sent_at, now):
            self._lower(_LATE, sent_at, now)
        elif 2 * self.running >= self._limit:  # one that nobody comes near to says nothing
            self._limit = min(self._limit + 1 / self._limit, float(self._most))

    def refused(self, sent_at: float, now: float) -> None:
        """The deployment takes no more, or did not answer in time."""
        self._lower(_REFUSED, sent_at, now)

    def _lower(self, factor: float, sent_at: float, now: float) -> None:
        if sent_at > self._lowered_at:
            self._lowered_at = now
            self._limit = max(1.0, self._limit * factor)

    def _is_late(self, seconds: float, now: float) -> bool:
        if not self._seen:
            self._recent = self._baseline = seconds
        self._recent += (seconds - self._recent) * _SMOOTHED
        if self._recent < self._baseline:
            self._baseline = self._recent
        elif self._seen:
            self._baseline += (self._recent - self._baseline) * (1 - math.exp((self._seen_at - now) / _FORGOTTEN))
        self._seen += 1
        self._seen_at = now
        return self._seen >= _ENOUGH and self._recent > TOLERANCE * self._baseline
