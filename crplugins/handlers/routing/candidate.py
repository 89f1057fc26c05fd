"""Candidate: one deployment of a model name, what answers for it, and how it fares."""

from typing import Final

from crplugins.core.errors import GatewayError
from crplugins.core.response_ids import ResponsesPlace
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Handler, Keeper
from crplugins.handlers.protocols import Protocols
from crplugins.handlers.routing.failures import lacks_model
from crplugins.handlers.routing.health import Health
from crplugins.handlers.routing.settings import RoutingSettings

_LAST: Final = float("inf")


class Candidate:
    """A deployment among those that may answer a request.

    Attributes:
        handler: opened and closed by the code that made it.
        protocols: in which it is asked as it is; by default in each.
        exact_name: the name that it serves; None where that is a pattern.
        order: those with the lowest are asked first.
        keeper: its handler, where its provider keeps responses.
        health: kept from request to request, and where its deployment stays the same from one configuration to the
            next. So what is to outlive a configuration is remembered by it.
    """

    __slots__ = ("deployment", "exact_name", "handler", "health", "keeper", "order", "protocols", "settings")

    def __init__(
        self,
        deployment: Deployment,
        handler: Handler,
        health: Health | None = None,
        protocols: Protocols | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.deployment: Final = deployment
        self.handler: Final = handler
        self.keeper: Final = keeper
        self.exact_name: Final = None if "*" in deployment.name else deployment.name
        self.settings: Final[RoutingSettings] = deployment.routing
        self.order: Final[float] = _LAST if self.settings.order is None else self.settings.order
        self.health: Final = health or Health(self.settings)
        self.protocols: Final = protocols or Protocols()

    @property
    def place(self) -> ResponsesPlace | None:
        """Where its provider keeps responses; None for one that keeps none."""
        return None if self.keeper is None else self.keeper.place

    def ended(self) -> None:
        """One of the requests that are running has ended."""
        self.health.running -= 1

    def is_at_fault(self, error: GatewayError) -> bool:
        """Whether a failure says something about the deployment. What a client writes for a `*` may be no model."""
        return not ("*" in self.deployment.model and lacks_model(error))
