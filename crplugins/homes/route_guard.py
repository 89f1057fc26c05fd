"""RouteGuard: which routes of a host a key opens.

A key is for answers. A model server has routes for its operator besides (it loads adapters, shows its settings, makes
paid calls to see whether a provider is there), and routes that run a model and that nobody here limits or records.
Neither is open to a client's key: what is open is on a list, and a route that is on no list is closed.
"""

import logging
from abc import abstractmethod
from collections.abc import Iterable
from typing import Final, Literal

from crplugins.config import Config
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.paths import ModelPaths
from crplugins.core.patterns import PathSet
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, Principal
from crplugins.plugins.aliases.access import enforced_models
from crplugins.plugins.rate_limits.rules import LimitRules

RouteKind = Literal["open", "unmetered", "operator"]
"""What a route is: `open` to every key, because it is limited and recorded or runs no model; one that runs a model
`unmetered`; or the `operator`'s."""

MODEL_PATHS: Final = ModelPaths()

_SHOWN: Final = 200
"""Characters of a path that an error repeats."""

logger = logging.getLogger("crplugins.routes")


class RouteGuard(Plugin):
    """Refuses with 403 what a key does not open; a subclass says what the routes of its host are.

    A key with `admin: true` opens every route, and a path of `server.unmetered_paths` is open to every key.

    Args:
        always: whether all that is not open is closed to every caller. Else an unmetered route is closed only to a key
            that has limits, a budget or a list of models, which it would go around, and nothing is closed to a caller
            who was asked for no key.
        listed: paths that are open; one that ends with `/*` stands for all below it.
        shadow_models, shadow_budgets: whether those of every key are shadows, which refuse nothing.
    """

    every_path: bool = True

    def __init__(
        self, *, always: bool, listed: Iterable[str] = (), shadow_models: bool = False, shadow_budgets: bool = False
    ) -> None:
        self._always = always
        self._listed = PathSet(listed)
        self._shadow_models, self._shadow_budgets = shadow_models, shadow_budgets

    @abstractmethod
    def kind_of(self, method: str, path: str) -> RouteKind:
        """What the host will take a request with this method and path for."""

    def inside(self, path: str) -> str:
        """The path as the host's routes have it, without what stands before all of them."""
        return path

    def on_request(self, exchange: Exchange) -> None:
        path = self.inside(exchange.path)
        self.check(exchange.principal, path, "open" if _is_ours(exchange) else self.kind_of(exchange.method, path))

    def check(self, principal: Principal | None, path: str, kind: RouteKind) -> None:
        """Raise `GatewayError` 403 unless the caller may use this path, which is of this kind."""
        if kind == "open" or path in self._listed or (principal is not None and principal.admin):
            return
        if kind == "operator" and (self._always or principal is not None):
            raise _refusal(path, "it is for operators, and this key is not one's", "endpoint_for_operators")
        if kind == "unmetered" and (self._always or (principal is not None and self._bounds(principal))):
            raise _refusal(path, "nothing limits or records what it uses", "endpoint_not_metered")

    def _bounds(self, principal: Principal) -> bool:
        """Whether the key brings something that a request on another path would go around."""
        models, budget = enforced_models(principal, shadow=self._shadow_models), principal.budget
        spends = budget is not None and not (budget.shadow or self._shadow_budgets)
        return models is not None or spends or principal.limits != Limits()


def _is_ours(exchange: Exchange) -> bool:
    """Whether it is a chat completion, which is metered on every path, or another spelling of one, which is refused
    with 404 further in, as in every home."""
    return exchange.asks_model or MODEL_PATHS.kind(exchange.method, exchange.path) == "nearly"


def meters_everybody(config: Config) -> bool:
    """Whether the configuration limits or records all callers, whatever their keys say."""
    limited = config.limits.rules() != LimitRules(shadow=config.limits.shadow)
    enforced = not config.budgets.shadow and any(not budget.shadow for budget in config.budgets.all())
    return config.ledger is not None or limited or enforced


def _refusal(path: str, reason: str, code: str) -> GatewayError:
    shown = path if len(path) <= _SHOWN else path[:_SHOWN] + "..."
    logger.warning("%r refused: neither server.unmetered_paths names it nor is the key an admin's; %s", shown, reason)
    return GatewayError(403, f"You may not use {shown} here: {reason}.", code=code)
