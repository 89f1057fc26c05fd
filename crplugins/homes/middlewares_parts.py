"""What the named middlewares are made of: the gateway's own plugins, and what stands in for a gateway around them."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Literal, Self, TypeVar

from crplugins.config import Config
from crplugins.core.plugin import Plugin
from crplugins.core.usage import Price
from crplugins.handlers.routes import Routes
from crplugins.homes.builtin import builtin_plugins
from crplugins.keys.inline import InlineKeys
from crplugins.plugins.aliases import ModelAliases
from crplugins.plugins.aliases_table import AliasTable
from crplugins.plugins.budgets import Budgets, Spent
from crplugins.plugins.rate_limits import RateLimits

P = TypeVar("P", bound=Plugin)

Prices = Callable[[str], Price | None]


def builtin(config: Config, kind: type[P]) -> P:
    """The gateway's plugin of this kind, as `config` has it. Not for those that need a source, a ledger or prices."""
    plugins = builtin_plugins(
        config, keys=InlineKeys(()), aliases=ModelAliases(), ledger=None, metrics=None, prices=lambda _model: None
    )
    return next(plugin for plugin in plugins if isinstance(plugin, kind))


def make_budgets(config: Config, prices: Prices, spent: Spent | None) -> Budgets:
    """As in the gateway, in a store of its own."""
    return Budgets(
        config.budgets.key(),
        config.budgets.teams(),
        prices=prices,
        spent=spent,
        warn_at=config.budgets.warn_at,
        store=builtin(config, RateLimits).reservations,
        estimated_output_tokens=config.limits.estimated_output_tokens,
        missing_usage=config.missing_usage,
    )


def alias_names(table: AliasTable) -> Iterator[str]:
    """The names in a table: what may be asked for, and what answers."""
    for view in (table.gateway, *table.teams.values()):
        for entry in view:
            yield entry.pattern.text
            yield from (model.text for model in entry.models)


class PriceList(Plugin):
    """What a token of a model costs, by `model_list`. A plugin, because litellm's table may have to be read first."""

    def __init__(self, config: Config) -> None:
        self._deployments = config.deployments()
        self._routes = Routes((deployment.name, deployment) for deployment in self._deployments)

    def __call__(self, model: str) -> Price | None:
        deployment = self._routes.find(model)
        return None if deployment is None else deployment.price_for(model)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._read)
        return self

    def _read(self) -> None:
        for deployment in self._deployments:
            deployment.price_for(deployment.name)


class AnswerReader(Plugin):
    """Does nothing. That it needs to read has the core find the usage in the answers of an app."""

    reads_body = True
    reads_events = True


class SpentReader(Plugin):
    """Asks the database of a ledger that somebody else writes. A plugin for its lifetime."""

    def __init__(self, url: str) -> None:
        from crplugins.ledger.database import LedgerDatabase  # sqlalchemy, needed only here

        self._database = LedgerDatabase(url, migrate=False)

    async def spent(self, scope: Literal["key", "team"], name: str, since: datetime) -> int:
        """As `Ledger.spent`."""
        from crplugins.ledger.question import Question
        from crplugins.ledger.report import answer

        async with self._database.reading() as connection:
            (sums,) = await answer(connection, Question(since=since, only={scope: name}))
        return sums.cost_micro_usd

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.close()
