"""UnmeteredPaths: vLLM's other endpoints, where chat completions are limited, paid for or recorded."""

import logging
from collections.abc import Iterable
from typing import Final

from crplugins.config import Config
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.patterns import PathSet
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, Principal
from crplugins.core.wire import CHAT_PATH
from crplugins.plugins.rate_limits.rules import LimitRules

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_COUNTS: Final = ("/tokenize", "/detokenize")
"""They run no model."""

logger = logging.getLogger("crplugins.vllm")


class UnmeteredPaths(Plugin):
    """Refuses what would be a way around: a completion, an embedding, a change of the server by whoever has a key.

    Only chat completions are counted. Where something counts on that (limits, budgets, a ledger, the models a key may
    call), no other path may be posted to, but those that are named.

    Args:
        always: whether the configuration counts on it for every caller. What a key itself brings is looked at besides.
        paths: those that may be used all the same; one that ends with `/*` stands for all below it.
    """

    chat_only: bool = False

    def __init__(self, *, always: bool, paths: Iterable[str] = ()) -> None:
        self._always = always
        self._allowed = PathSet([*_COUNTS, *paths])

    async def on_request(self, exchange: Exchange) -> None:
        path = exchange.path
        if exchange.method in _READS or path.endswith(CHAT_PATH) or path in self._allowed:
            return
        if self._always or _is_bounded(exchange.principal):
            logger.warning("request %s refused: %s is not named in server.unmetered_paths", exchange.id, path)
            raise GatewayError(
                403,
                f"You may not use {path} here: only chat completions are metered. Please use /v1{CHAT_PATH}.",
                code="endpoint_not_metered",
            )


def meters_everybody(config: Config) -> bool:
    """Whether the configuration limits or records all callers, whatever their keys say."""
    budgets = config.budgets
    limited = config.limits.rules() != LimitRules(shadow=config.limits.shadow)
    return config.ledger is not None or limited or bool(budgets.per_team) or budgets.per_key is not None


def _is_bounded(principal: Principal | None) -> bool:
    if principal is None:
        return False
    return principal.models is not None or principal.budget is not None or principal.limits != Limits()
