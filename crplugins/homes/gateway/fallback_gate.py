"""FallbackGate: whether a request may be served by another model than it asked for, as the plugins judge it."""

from collections.abc import Sequence
from typing import Final

from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.homes.assembly import find
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.rate_limits.plugin import RateLimits


class FallbackGate:
    """The `Gate` (handlers/routing/fallbacks.py) of a gateway with these plugins."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._aliases: Final = find(ModelAliases, plugins)
        self._budgets: Final = find(Budgets, plugins)
        self._limits: Final = find(RateLimits, plugins)

    async def admits(self, exchange: Exchange, model: str) -> bool:
        if self._aliases is not None and not self._aliases.permits(exchange, model):
            return False
        if self._budgets is not None and not self._budgets.permits(exchange, model):
            return False
        return self._limits is None or await self._limits.moves_to(exchange, model)
