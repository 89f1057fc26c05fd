"""Balancer: which of several healthy deployments answers a request."""

from collections.abc import Sequence
from typing import Final, Protocol

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange
from crplugins.core.usage import TokenUsage
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.health import Health
from crplugins.metering.estimate import ESTIMATED_OUTPUT_TOKENS, demand_of


class Balancer(Protocol):
    """Picks a deployment. One object for each model name, so it may keep what it learns from request to request."""

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:
        """One of `candidates`: at least two of one group and of one `order`, none of which cools down, that `exchange`
        has not asked yet.

        Called again for the same request after one that was picked has failed.
        """


def weighed(candidates: Sequence[Candidate]) -> list[tuple[Candidate, float]]:
    """Those who may be picked, with their weights: one of weight 0 only where all have 0."""
    return [(each, each.settings.weight) for each in candidates if each.settings.weight > 0] or [
        (each, 1.0) for each in candidates
    ]


class Turns:
    """Takes them in turn, each as often as its weight says: smooth weighted round robin, as nginx does it.

    Of weights 2 and 1 the turns are a, b, a.
    """

    def __init__(self) -> None:
        self._credit: dict[Health, float] = {}

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:  # noqa: ARG002
        able, credit, total = weighed(candidates), self._credit, 0.0
        best = able[0][0]
        for each, weight in able:
            total += weight
            credit[each.health] = credit.get(each.health, 0.0) + weight
            if credit[each.health] > credit[best.health]:
                best = each
        credit[best.health] -= total
        return best


class LeastBusy:
    """The one with the fewest requests running for its weight, streams among them until they end. Equals take turns."""

    def __init__(self) -> None:
        self._turns: Final = Turns()

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:
        loads = [(each, each.health.running / weight) for each, weight in weighed(candidates)]
        fewest = min([load for _, load in loads])
        idlest = [each for each, load in loads if load == fewest]
        return idlest[0] if len(idlest) == 1 else self._turns.pick(idlest, exchange, body)


class Cheapest:
    """The one for which the request costs least, as long as its answer is estimated. One without a known price is the
    most expensive.

    Args:
        otherwise: picks one of several that cost the same.
    """

    def __init__(self, otherwise: Balancer) -> None:
        self._otherwise: Final = otherwise

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:
        demand = demand_of(exchange, ESTIMATED_OUTPUT_TOKENS)
        usage, requested = TokenUsage(demand.prompt, demand.output), body.get("model", str) or ""
        costs = [(each, _cost(each, requested, exchange, usage)) for each, _ in weighed(candidates)]
        least = min([cost for _, cost in costs])
        cheapest = [each for each, cost in costs if cost == least]
        return cheapest[0] if len(cheapest) == 1 else self._otherwise.pick(cheapest, exchange, body)


_UNKNOWN: Final = (float("inf"), 0)


def _cost(candidate: Candidate, requested: str, exchange: Exchange, usage: TokenUsage) -> tuple[float, int]:
    """In millionths of a US dollar, and what a token costs, which decides about less than one of those."""
    price = candidate.deployment.price_for(requested)
    return _UNKNOWN if price is None else (exchange.cost_at(price, usage), price.input + price.output)
