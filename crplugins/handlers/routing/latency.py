"""Latency: which deployment answers soonest, as its last answers say.

For a stream that is the time to the first token, for a plain answer the time for each of its tokens. What a deployment
is running counts against it, so that the fastest is not sent everything until it is the slowest. One that nothing is
known of counts as the fastest, and what is known fades, so that one that was slow is asked again within minutes.
"""

import math
from collections.abc import Sequence
from typing import Final

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.said import Said
from crplugins.handlers.routing.balancing import Balancer, Turns, weighed
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.health import Health
from crplugins.handlers.routing.whole_usage import events_of

NEWEST: Final = 0.2
"""The weight of the newest answer in the mean; more if the last one is long ago."""

FADES_SECONDS: Final = 60.0
"""In which two thirds of what is known of a deployment, its distance to the fastest, fade while it gives no answer: one
that is twice as slow is asked again after two minutes, one that is ten times as slow after three."""

EQUAL: Final = 1.1
"""Up to how many times the shortest wait is as good as that."""

_SHORTEST: Final = 0.001


class MeanSeconds:
    """A moving mean on a logarithmic scale, on which one wait of forty times the usual only doubles it."""

    __slots__ = ("at", "log")

    def __init__(self) -> None:
        self.log: float | None = None  # of the seconds; None before the first
        self.at = 0.0  # when the last came

    def add(self, seconds: float, sent: float, now: float) -> None:
        """An answer to what was sent at `sent`."""
        log = math.log(max(seconds, _SHORTEST))
        before = (1 - NEWEST) * self._kept(sent)
        self.log = log if self.log is None else log + before * (self.log - log)
        self.at = now

    def log_at(self, now: float, fastest: float) -> float:
        """The logarithm now, where `fastest` is that of the fastest."""
        if self.log is None:
            return fastest
        return fastest + (self.log - fastest) * self._kept(now)

    def _kept(self, now: float) -> float:
        """How much of what was known has not faded."""
        return math.exp(min(self.at - now, 0.0) / FADES_SECONDS)


class Speed:
    """How fast one deployment answers in this process."""

    __slots__ = ("first_token", "token")

    def __init__(self) -> None:
        self.first_token: Final = MeanSeconds()  # of streams
        self.token: Final = MeanSeconds()  # each, of plain answers

    def of(self, *, stream: bool) -> MeanSeconds:
        return self.first_token if stream else self.token

    def answered(self, reply: Reply, exchange: Exchange, sent: float) -> None:
        """A request that was sent at `sent` has been answered: a plain one in whole, a stream by its first token."""
        now = exchange.clock()
        if isinstance(reply.body, bytes):
            self.token.add((now - sent) / max(_tokens_in(reply.body, exchange), 1), sent, now)
        else:
            self.first_token.add(now - sent, sent, now)


def _tokens_in(document: bytes, exchange: Exchange) -> int:
    """Of a plain answer: as its provider counts them, or about how many it says. It is decoded once for all readers."""
    [event] = events_of(document, exchange, None)
    exchange.split = document, [event]
    if event.answer is None:
        return 0
    counted, said = event.answer.counted, Said()
    if counted is not None and counted.output_tokens:
        return counted.output_tokens
    said.hear(event.answer.choices or ())
    return said.tokens()


class Fastest:
    """The one that answers soonest with what it is running. Equals take turns. It has its candidates measured."""

    def __init__(self) -> None:
        self._turns: Final[Balancer] = Turns()

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:
        able, now = weighed(candidates), exchange.clock()
        means = [_speed(each.health).of(stream=exchange.stream) for each, _ in able]
        fastest = min([mean.log for mean in means if mean.log is not None], default=0.0)
        usual = sum([weight for _, weight in able]) / len(able)
        waits = [
            math.exp(mean.log_at(now, fastest)) * (1 + each.health.running * usual / weight)
            for mean, (each, weight) in zip(means, able, strict=True)
        ]
        enough = EQUAL * min(waits)
        soonest = [each for (each, _), wait in zip(able, waits, strict=True) if wait <= enough]
        return soonest[0] if len(soonest) == 1 else self._turns.pick(soonest, exchange, body)


def _speed(health: Health) -> Speed:
    if health.speed is None:
        health.speed = Speed()
    return health.speed
