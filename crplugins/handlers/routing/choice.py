"""Choice: which of several healthy deployments answers a request."""

from collections.abc import Sequence
from typing import Protocol

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange
from crplugins.handlers.routing.candidate import Candidate


class Choice(Protocol):
    """Picks a deployment. One object for each model name, so it may keep what it learns from request to request."""

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:
        """One of `candidates`, at least two of one group in its order, that `exchange` has not asked yet.

        Called again for the same request after one that was picked has failed.
        """


class Turns:
    """Takes them in turn."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:  # noqa: ARG002
        self._turn += 1
        return candidates[(self._turn - 1) % len(candidates)]
