"""Strategy: how one of the healthy deployments of a model name is chosen, as the configuration says it."""

from collections.abc import Sequence

from crplugins.core.identity import IdentitySource
from crplugins.handlers.routing.affinity import Affinity
from crplugins.handlers.routing.choice import Cheapest, Choice, LeastBusy, Turns
from crplugins.handlers.routing.settings import GroupSettings


def choice_of(settings: GroupSettings, sessions: Sequence[IdentitySource] = ()) -> Choice:
    """A new one for a model name. Of the cheapest that cost the same, and of all where price says nothing, a session
    stays with one.

    Args:
        sessions: where clients name their session.
    """
    busy = settings.strategy == "least-busy"
    choice: Choice = LeastBusy() if busy else Turns()
    if settings.affinity_seconds > 0:
        choice = Affinity(choice, hashed=not busy, seconds=settings.affinity_seconds, sessions=sessions)
    return Cheapest(choice) if settings.strategy == "cost-based-routing" else choice
