"""Parts: what the plugins of one home are made of, each made once and only if a plugin asks for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from crplugins.config import Config
from crplugins.core.identity import Identities
from crplugins.core.plugin import Plugin
from crplugins.core.processes import announced_processes
from crplugins.core.usage import Price
from crplugins.homes.unpriced import KnownBudgets, unpriced_warnings
from crplugins.keys.key import Key
from crplugins.keys.opening import open_source
from crplugins.keys.source import KeySource, listed_keys
from crplugins.limits.opening import open_limit_store
from crplugins.limits.outage import GuardedStore
from crplugins.limits.reservations import Reservations
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.auth import PUBLIC_PATHS
from crplugins.plugins.budgets.plugin import Spent
from crplugins.plugins.budgets.watch import BudgetWatch
from crplugins.plugins.usage import Sink

if TYPE_CHECKING:
    from crplugins.homes.metrics import MetricsApp, Scraper
    from crplugins.ledger.ledger import Ledger
    from crplugins.plugins.metrics.plugin import Metrics


Prices = Callable[[str], Price | None]
"""What a token of a model costs, by the name it is served under; None if nobody knows."""


@dataclass
class Parts:
    """A configuration, and what a home adds to it.

    Attributes:
        prices: the price of a model by the name it is served under.
        served: the names that are served; None where the app inside decides.
        serves: whether a name is served; None where only the app inside knows.
        models: the names whose prices are looked at when the plugins open; None for those in the configuration.
        metric_names: names that have series of their own in the metrics.
        metric_keys: ids of keys that do; None for those in the configuration.
        public_paths: paths that need no key.
        response_model: as in the configuration, for a home that puts the names back by itself.
        prices_records: no handler of ours notes the price of an answer, so Usage looks it up.
        sinks: called with each usage record.
        spent: what a key or team has spent before, where somebody else keeps the ledger.
    """

    config: Config
    prices: Prices
    served: Sequence[str] | None = None
    serves: Callable[[str], bool] | None = None
    models: Sequence[str] | None = None
    metric_names: Iterable[str] = ()
    metric_keys: Iterable[str] | None = None
    public_paths: Iterable[str] = PUBLIC_PATHS
    response_model: Literal["requested", "served"] | None = None
    prices_records: bool = False
    sinks: Iterable[Sink] = ()
    spent: Spent | None = None

    @cached_property
    def keys(self) -> KeySource:
        return open_source(self.config.keys)

    @cached_property
    def aliases(self) -> ModelAliases:
        config = self.config
        return ModelAliases(
            aliases=config.aliases,
            teams=config.team_aliases,
            served=self.served,
            response_model=self.response_model or config.response_model,
            hidden_status=config.hidden_model_status,
            shadow=config.models_shadow,
        )

    def unpriced_warnings(self, models: Iterable[str] | None = None, keys: Iterable[Key] | None = None) -> list[str]:
        """A sentence for each of `models` whose price is unknown though a budget may have to count it.

        `keys` are by default those that stand in the configuration and, once they are open, those in a file.
        """
        config, budgets = self.config, self.config.budgets
        principals = [key.principal for key in (listed_keys(self.keys) if keys is None else keys)]
        known = KnownBudgets(
            budgets.key(), budgets.teams(), principals, budgets.shadow, budgets.user(), budgets.session()
        )
        names = dict.fromkeys((entry.model_name for entry in config.model_list) if models is None else models)
        refused = budgets.refuses_unknown_price
        return list(unpriced_warnings(names, self.prices, known, self.aliases.table, refused=refused))

    @cached_property
    def identities(self) -> Identities:
        """RateLimits and Budgets know the same users and sessions."""
        return self.config.limits.identity.identities(self.config.budgets.user())

    @cached_property
    def reservations(self) -> Reservations:
        """RateLimits and Budgets reserve in one store."""
        limits = self.config.limits
        store = open_limit_store(limits.store)
        if limits.store != "memory":
            store = GuardedStore(
                store, on_store_error=limits.on_store_error, share=limits.local_share, processes=announced_processes()
            )
        return Reservations(store)

    @cached_property
    def budget_watch(self) -> BudgetWatch | None:
        """Which budgets were used, for webhooks; None where nobody wants to know."""
        return BudgetWatch() if self.config.webhooks else None

    @cached_property
    def ledger(self) -> "Ledger | None":
        if self.config.ledger is None:
            return None
        from crplugins.ledger.ledger import Ledger  # needed only here

        section = self.config.ledger
        return Ledger(
            section.url,
            spool=section.spool,
            keep=section.kept,
            migrate=section.migrate,
            commit_seconds=section.commit_seconds,
        )

    @property
    def spent_before(self) -> Spent | None:
        """What budgets begin with after a restart; None where nobody has kept it."""
        if self.spent is not None:
            return self.spent
        return None if self.ledger is None else self.ledger.spent

    @cached_property
    def metrics(self) -> "Metrics | None":
        """With series for what is configured."""
        section = self.config.metrics
        if section is None:
            return None
        from crplugins.plugins.metrics.plugin import Metrics  # prometheus_client, needed only here

        keys = self.config.key_ids() if self.metric_keys is None else self.metric_keys
        names = dict.fromkeys(self.metric_names)
        return Metrics(names, keys, key_cap=section.key_cap, inter_chunk=section.inter_chunk)

    @cached_property
    def scraper(self) -> "Scraper | None":
        """Answers Prometheus; None where nothing is counted."""
        section = self.config.metrics
        if self.metrics is None or section is None:
            return None
        from crplugins.homes.metrics import Scraper

        return Scraper(self.metrics, token=section.secret)


def configured_aliases(config: Config) -> list[str]:
    """Every name that the configuration gives to a model."""
    return [*config.aliases, *(name for team in config.team_aliases.values() for name in team)]


def metrics_app(parts: Parts, plugins: Sequence[Plugin], faults: Mapping[tuple[str, str], int]) -> "MetricsApp | None":
    """Where Prometheus scrapes what these plugins count and limit; None where nothing is counted."""
    if parts.scraper is None:
        return None
    from crplugins.homes.metrics import MetricsApp

    parts.scraper.watch(plugins, faults)
    return MetricsApp(parts.scraper)
