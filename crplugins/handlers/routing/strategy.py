"""Strategy: how one of the healthy deployments of a model name is chosen, as the configuration says it."""

from collections.abc import Sequence

from crplugins.core.identity import IdentitySource
from crplugins.handlers.routing.affinity import Affinity
from crplugins.handlers.routing.balancing import Balancer, Cheapest, LeastBusy, Turns
from crplugins.handlers.routing.settings import GroupSettings


def balancer_of(settings: GroupSettings, sessions: Sequence[IdentitySource] = ()) -> Balancer:
    """A new one for a model name. Of the cheapest that cost the same, and of all where price says nothing, a session
    stays with one.

    Args:
        sessions: where clients name their session.
    """
    busy = settings.strategy == "least-busy"
    balancer: Balancer = LeastBusy() if busy else Turns()
    if settings.affinity_seconds > 0:
        balancer = Affinity(balancer, hashed=not busy, seconds=settings.affinity_seconds, sessions=sessions)
    return Cheapest(balancer) if settings.strategy == "cost-based-routing" else balancer
