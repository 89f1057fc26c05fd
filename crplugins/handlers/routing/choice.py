"""Choice: which of several healthy deployments answers a request."""

from collections.abc import Sequence
from typing import Protocol

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange
from crplugins.handlers.routing.candidate import Candidate


class Choice(Protocol):
    """Picks a deployment. One object for each model name, so it may keep what it learns from request to request."""

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:
        """One of `candidates`: at least two of one group and of one `order`, none of which cools down, that `exchange`
        has not asked yet.

        Called again for the same request after one that was picked has failed.
        """


class Turns:
    """Takes them in turn, each as often as its weight says: smooth weighted round robin, as nginx does it.

    Of weights 2 and 1 the turns are a, b, a. One of weight 0 has its turn only where all have 0.
    """

    def __init__(self) -> None:
        self._credit: dict[Candidate, float] = {}

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:  # noqa: ARG002
        weighed = [(each, each.settings.weight) for each in candidates if each.settings.weight > 0]
        if not weighed:
            weighed = [(each, 1.0) for each in candidates]
        credit, total = self._credit, 0.0
        best = weighed[0][0]
        for each, weight in weighed:
            total += weight
            credit[each] = credit.get(each, 0.0) + weight
            if credit[each] > credit[best]:
                best = each
        credit[best] -= total
        return best
