"""Candidate: one deployment of a model name, what answers for it, and how it fares."""

from typing import Final

from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Handler
from crplugins.handlers.routing.health import Health


class Candidate:
    """A deployment among those that may answer a request.

    Attributes:
        handler: opened and closed by the code that made it.
        health: kept from request to request.
    """

    __slots__ = ("deployment", "handler", "health")

    def __init__(self, deployment: Deployment, handler: Handler) -> None:
        self.deployment: Final = deployment
        self.handler: Final = handler
        self.health: Final = Health()
