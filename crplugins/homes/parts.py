"""Parts: what the plugins of one home are made of, each made once and only if a plugin asks for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import msgspec

from crplugins.asgi.kept_open import KeptOpen
from crplugins.asgi.lifespan import Resource
from crplugins.config import Config
from crplugins.config.plugin_entry import PluginEntry
from crplugins.core.identity import Identities
from crplugins.core.plugin import Plugin
from crplugins.core.processes import announced_processes
from crplugins.core.response_ids import ResponsesPlace
from crplugins.core.usage import Price
from crplugins.homes.unpriced import KnownBudgets, unpriced_warnings
from crplugins.keys.key import Key
from crplugins.keys.opening import open_source, sources_of
from crplugins.keys.source import KeySource, listed_keys
from crplugins.limits.opening import open_limit_store
from crplugins.limits.reservations import Reservations
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.auth import PUBLIC_PATHS
from crplugins.plugins.budgets.plugin import Spent
from crplugins.plugins.budgets.watch import BudgetWatch
from crplugins.plugins.usage import Sink

if TYPE_CHECKING:
    from crplugins.homes.metrics import MetricsApp, Scraper
    from crplugins.homes.metrics_push import MetricsPush
    from crplugins.homes.webhooks.opening import OpenReceiver
    from crplugins.ledger.ledger import Ledger
    from crplugins.plugins.metrics.plugin import Metrics
    from crplugins.sinks.stream import RecordStream


Prices = Callable[[str], Price | None]
"""What a token of a model costs, by the name it is served under; None if nobody knows."""


class _Own(msgspec.Struct, frozen=True, eq=False):
    """A plugin of the user's own, and what its entry says."""

    entry: PluginEntry
    plugin: Plugin
    opening: KeptOpen


class Parts(msgspec.Struct, dict=True, eq=False):
    """A configuration, and what a home adds to it.

    Attributes:
        prices: the price of a model by the name it is served under.
        served: the names that are served; None where the app inside decides.
        serves: whether a name is served; None where only the app inside knows.
        models: the names whose prices are looked at when the plugins open; None for those in the configuration.
        metric_names: names that have series of their own in the metrics.
        metric_keys: ids of keys that do; None for those in the configuration.
        public_paths: paths that need no key.
        place_of: where handlers of ours have answers kept, by its tag; None where the app inside has them.
        response_model: as in the configuration, for a home that puts the names back by itself.
        prices_records: no handler of ours notes the price of an answer, so Usage looks it up.
        sinks: get each usage record, besides those in the configuration.
        spent: what a key or team has spent before, where somebody else keeps the ledger.
        previous: the parts of the configuration that this one replaces. Of them are taken those that would be the same.
    """

    config: Config
    prices: Prices
    served: Sequence[str] | None = None
    serves: Callable[[str], bool] | None = None
    models: Sequence[str] | None = None
    metric_names: Iterable[str] = ()
    metric_keys: Iterable[str] | None = None
    public_paths: Iterable[str] = PUBLIC_PATHS
    place_of: Callable[[bytes], ResponsesPlace | None] | None = None
    response_model: Literal["requested", "served"] | None = None
    prices_records: bool = False
    sinks: Iterable[Sink] = ()
    spent: Spent | None = None
    previous: "Parts | None" = None

    def __post_init__(self) -> None:
        self._own: list[_Own] = []

    @cached_property
    def keys(self) -> KeySource:
        previous, keys = self.previous, self.config.keys
        if previous is None:
            return open_source(keys)
        if previous.config.keys == keys:
            return previous.keys
        return open_source(keys, opened=sources_of(previous.config.keys, previous.keys))

    def own_plugin(self, entry: PluginEntry) -> Plugin:
        """A plugin of the user's own. Raises `OptionsRefused` if its class does not take the options."""
        others = [] if self.previous is None else self.previous._own
        own = next((each for each in others if each.entry == entry and each not in self._own), None)
        if own is None:
            plugin = entry.make()  # perhaps one that was made elsewhere, and stands here once more
            opening = next((each.opening for each in others if each.plugin is plugin), None) or KeptOpen(plugin)
            own = _Own(entry, plugin, opening)
        self._own.append(own)
        return own.plugin

    def opening(self, plugin: Plugin) -> Resource:
        """What to open and close for a plugin: for the user's own what all configurations share that have it."""
        return next((each.opening for each in self._own if each.plugin is plugin), plugin)

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
        limits, previous = self.config.limits, self.previous
        if previous is not None and _store_words(previous.config) == _store_words(self.config):
            return previous.reservations
        store = open_limit_store(limits.store)
        if limits.store != "memory":
            from crplugins.limits.outage import GuardedStore  # what is in this process needs no guard

            store = GuardedStore(
                store, on_store_error=limits.on_store_error, share=limits.local_share, processes=announced_processes()
            )
        return Reservations(store)

    @cached_property
    def budget_watch(self) -> BudgetWatch | None:
        """Which budgets were used, for webhooks; None where nobody wants to know."""
        if not self.config.webhooks:
            return None
        return (self.previous and self.previous.budget_watch) or BudgetWatch()

    @cached_property
    def receivers(self) -> "list[OpenReceiver]":
        """Of webhooks."""
        from crplugins.homes.webhooks.opening import open_receivers  # the HTTP client, needed only here

        previous = self.previous.receivers if self.previous is not None and self.previous.config.webhooks else []
        return open_receivers(self.config.webhooks, self.reservations, previous)

    @cached_property
    def ledger(self) -> "Ledger | None":
        if self.config.ledger is None:
            return None
        if self.previous is not None and self.previous.config.ledger == self.config.ledger:
            return self.previous.ledger
        from crplugins.ledger.ledger import Ledger  # needed only here

        section = self.config.ledger
        return Ledger(
            section.url,
            spool=section.spool,
            keep=section.kept,
            migrate=section.migrate,
            commit_seconds=section.commit_seconds,
        )

    @cached_property
    def streams(self) -> "Sequence[RecordStream]":
        """The sinks in the configuration."""
        previous = self.previous
        if previous is not None and previous.config.sinks == self.config.sinks:
            return previous.streams
        sections = self.config.sinks.present().values()
        if not sections:
            return ()
        from crplugins.sinks.stream import RecordStream

        return [RecordStream(each.broker(), spool=each.spool, most_spooled=each.max_spooled) for each in sections]

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
        from crplugins.plugins.metrics.plugin import Metrics  # needed only here

        keys = self.config.key_ids() if self.metric_keys is None else self.metric_keys
        names = dict.fromkeys(self.metric_names)
        if self.previous is not None and (metrics := self.previous.metrics) is not None:
            metrics.configure(names, keys, section.key_cap)
            return metrics
        return Metrics(names, keys, key_cap=section.key_cap, inter_chunk=section.inter_chunk)

    @cached_property
    def scraper(self) -> "Scraper | None":
        """Answers Prometheus; None where nothing is counted."""
        section = self.config.metrics
        if self.metrics is None or section is None:
            return None
        from crplugins.homes.metrics import Scraper

        if self.previous is not None and self.previous.metrics is self.metrics:
            return self.previous.scraper
        return Scraper(self.metrics, token=section.secret)

    @cached_property
    def metrics_push(self) -> "MetricsPush | None":
        """Sends the metrics over OTLP; None where nobody wants them."""
        section = self.config.metrics
        if self.scraper is None or section is None or section.otlp is None:
            return None
        from crplugins.homes.metrics_push import MetricsPush  # raises ImportError without the `otlp` extra

        previous = self.previous
        if previous is None or previous.metrics_push is None or previous.scraper is not self.scraper:
            return MetricsPush(self.scraper, section.otlp)
        if previous.config.metrics is not None and previous.config.metrics.otlp == section.otlp:
            return previous.metrics_push
        return MetricsPush(self.scraper, section.otlp, previous.metrics_push)

    @property
    def metrics_app(self) -> "MetricsApp | None":
        """Where Prometheus scrapes; None where nothing is counted."""
        if self.scraper is None:
            return None
        from crplugins.homes.metrics import MetricsApp

        return MetricsApp(self.scraper)


def _store_words(config: Config) -> tuple[object, ...]:
    """What a store of limits is made of; that in memory keeps nothing of what may go wrong with others."""
    limits = config.limits
    return (limits.store,) if limits.store == "memory" else (limits.store, limits.on_store_error, limits.local_share)


def configured_aliases(config: Config) -> list[str]:
    """Every name that the configuration gives to a model."""
    return [*config.aliases, *(name for team in config.team_aliases.values() for name in team)]


def metrics_app(parts: Parts, plugins: Sequence[Plugin], faults: Mapping[tuple[str, str], int]) -> "MetricsApp | None":
    """Where Prometheus scrapes what these plugins count and limit; None where nothing is counted."""
    if parts.scraper is not None:
        parts.scraper.watch(plugins, faults)
    return parts.metrics_app
