"""BoundsLookup: from a request to the limits that apply to it."""

from typing import Final

from crplugins.core.bounded_map import Latest
from crplugins.core.exchange import Exchange
from crplugins.core.principal import Principal
from crplugins.plugins.limit_address import ClientAddresses
from crplugins.plugins.limit_bounds import Bounds, bounds_for
from crplugins.plugins.limit_rules import NO_LIMITS, LimitRules


class BoundsLookup:
    """Remembers what it has found: a principal is never changed, only replaced."""

    def __init__(self, rules: LimitRules, addresses: ClientAddresses) -> None:
        self.rules: Final = rules
        self.seen: Final[Latest[str, Principal]] = Latest()
        """Keys that have made a request, the latest last."""
        self._addresses: Final = addresses if rules.per_client_address != NO_LIMITS else None
        self._kept: Final[Latest[tuple[int, str | None, str | None], tuple[Principal | None, Bounds]]] = Latest()

    def of(self, exchange: Exchange) -> Bounds:
        principal = exchange.principal
        model = exchange.served_model or exchange.requested_model
        if model is not None and not self.rules.distinguishes(model):
            model = None
        address = None if self._addresses is None else self._addresses.of(exchange.client, exchange.headers)
        whose = (id(principal), model, address)
        kept = self._kept.get(whose)
        if kept is not None and kept[0] is principal:
            return kept[1]
        bounds = bounds_for(self.rules, principal, model, address)
        self._kept[whose] = principal, bounds
        if principal is not None:
            self.seen[principal.key_id] = principal
        return bounds
