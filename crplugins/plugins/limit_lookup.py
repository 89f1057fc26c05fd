"""BoundsLookup: from a request to the limits that apply to it."""

from collections import OrderedDict
from typing import Final

from crplugins.core.exchange import Exchange
from crplugins.core.principal import Principal
from crplugins.plugins.limit_address import ClientAddresses
from crplugins.plugins.limit_bounds import Bounds, bounds_for
from crplugins.plugins.limit_rules import NO_LIMITS, LimitRules

KEPT: Final = 4096
"""So many callers are remembered, the latest ones. Models and addresses may come from clients."""


class BoundsLookup:
    """Remembers what it has found: a principal is never changed, only replaced."""

    def __init__(
        self, rules: LimitRules, addresses: ClientAddresses, *, seen: OrderedDict[str, Principal] | None = None
    ) -> None:
        self.rules: Final = rules
        self._addresses: Final = addresses if rules.per_client_address != NO_LIMITS else None
        self._kept: Final[OrderedDict[tuple[int, str | None, str | None], tuple[Principal | None, Bounds]]] = (
            OrderedDict()
        )
        self.seen: Final[OrderedDict[str, Principal]] = OrderedDict() if seen is None else seen
        """Keys that have made a request, the latest last."""

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
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        if principal is not None:
            self._note(principal)
        return bounds

    def _note(self, principal: Principal) -> None:
        self.seen[principal.key_id] = principal
        self.seen.move_to_end(principal.key_id)
        if len(self.seen) > KEPT:
            self.seen.popitem(last=False)
