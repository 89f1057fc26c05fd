"""Strategy: how one of the healthy deployments of a model name is chosen, as the configuration says it."""

from collections.abc import Sequence

from crplugins.core.identity import IdentitySource
from crplugins.handlers.routing.affinity import Affinity
from crplugins.handlers.routing.balancing import Balancer, Cheapest, LeastBusy, Turns
from crplugins.handlers.routing.latency import Fastest
from crplugins.handlers.routing.settings import GroupSettings, Strategy


def balancer_of(settings: GroupSettings, sessions: Sequence[IdentitySource] = ()) -> Balancer:
    """A new one for a model name. Of the cheapest that cost the same, and of all where price says nothing, a session
    stays with one.

    Args:
        sessions: where clients name their session.
    """
    strategy, balancer = settings.strategy, _plain(settings.strategy)
    if settings.affinity_seconds > 0:
        hashed = isinstance(balancer, Turns)
        balancer = Affinity(balancer, hashed=hashed, seconds=settings.affinity_seconds, sessions=sessions)
    return Cheapest(balancer) if strategy == "cost-based-routing" else balancer


def _plain(strategy: Strategy) -> Balancer:
    """The one for requests that belong to no session, among those that cost the same."""
    match strategy:
        case "least-busy":
            return LeastBusy()
        case "latency-based-routing":
            return Fastest()
        case _:
            return Turns()
