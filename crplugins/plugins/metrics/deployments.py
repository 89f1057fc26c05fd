"""DeploymentStatus: what the metrics show of a deployment. Whoever chooses among deployments tells it."""

from typing import NamedTuple

from crplugins.core.outcome import HealthState


class DeploymentStatus(NamedTuple):
    """How a deployment fares in this process.

    Attributes:
        model: the name that clients ask for.
        deployment: what tells it from others of that name.
        cooldowns: how often it has begun to cool down.
        running: how many requests it is answering.
    """

    model: str
    deployment: str
    state: HealthState
    cooldowns: int
    running: int
