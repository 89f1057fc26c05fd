"""The gateway's plugins, in their one order.

Outside Auth stand those that see every request, also the one without a good key; right inside it Usage, so that every
request of a key leaves a record; innermost those that deal with the answer as the provider gave it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from crplugins.config import Config
from crplugins.core.plugin import Plugin
from crplugins.core.usage import Price
from crplugins.homes.gateway import admin
from crplugins.keys.source import KeySource
from crplugins.limits.opening import open_limit_store
from crplugins.limits.outage import GuardedStore
from crplugins.limits.reservations import Reservations
from crplugins.metering.estimate import Estimator
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.auth import PUBLIC_PATHS, Auth
from crplugins.plugins.budgets.plugin import Budgets, Spent
from crplugins.plugins.disconnects import Disconnects
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.server_timing import ServerTiming
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.plugins.usage import Usage

if TYPE_CHECKING:
    from crplugins.homes.metrics import MetricsApp
    from crplugins.ledger.ledger import Ledger
    from crplugins.plugins.metrics.plugin import Metrics

OPENAPI_PATH: Final = "/openapi.json"
ADMIN_USAGE_PATH: Final = "/admin/usage"


def builtin_plugins(
    config: Config,
    *,
    keys: KeySource,
    aliases: ModelAliases,
    ledger: "Ledger | None",
    metrics: "Metrics | None",
    prices: Callable[[str], Price | None],
) -> Iterator[Plugin]:
    """Outermost first. Raises ImportError for tracing without the `otel` extra."""
    if config.tracing:
        from crplugins.plugins.tracing.plugin import Tracing

        yield Tracing()
    if metrics is not None:
        yield metrics
    if config.server.access_log:
        from crplugins.plugins.access_log import AccessLog

        yield AccessLog()
    yield ServerTiming()
    yield Auth(keys, public_paths=_public_paths(config))
    yield Usage(ledger, metadata=config.usage.metadata)
    yield RequestGuard(strict=config.guard.strict)
    yield aliases
    yield from _limiting(config, ledger, prices)
    yield Disconnects(
        config.on_disconnect, drain_seconds=config.usage.drain_seconds, drain_tokens=config.usage.drain_tokens
    )
    yield StreamUsage()
    yield MissingUsage(config.missing_usage, estimator=_estimator(config))


def _limiting(
    config: Config, ledger: "Ledger | None", prices: Callable[[str], Price | None]
) -> Iterator[RateLimits | Budgets]:
    """Both reserve in one store."""
    reservations = open_reservations(config)
    yield RateLimits(
        config.limits.rules(),
        store=reservations,
        trusted_proxies=config.limits.trusted_proxies,
        estimated_output_tokens=config.limits.estimated_output_tokens,
        missing_usage=config.missing_usage,
    )
    yield make_budgets(config, reservations, prices, ledger.spent if ledger is not None else None)


def open_reservations(config: Config) -> Reservations:
    """In the store of the configuration, not yet entered."""
    store = open_limit_store(config.limits.store)
    if config.limits.store != "memory":
        store = GuardedStore(store, on_store_error=config.limits.on_store_error)
    return Reservations(store)


def make_budgets(
    config: Config, reservations: Reservations, prices: Callable[[str], Price | None], spent: Spent | None
) -> Budgets:
    """The budgets of the configuration."""
    return Budgets(
        config.budgets.key(),
        config.budgets.teams(),
        prices=prices,
        spent=spent,
        warn_at=config.budgets.warn_at,
        store=reservations,
        estimated_output_tokens=config.limits.estimated_output_tokens,
        missing_usage=config.missing_usage,
    )


def open_ledger(config: Config) -> "Ledger | None":
    """The ledger of the configuration, not yet entered."""
    if config.ledger is None:
        return None
    from crplugins.ledger.ledger import Ledger  # sqlalchemy, needed only here

    return Ledger(config.ledger.url, spool=config.ledger.spool, migrate=config.ledger.migrate)


def make_metrics(config: Config, served: list[str], ledger: "Ledger | None") -> "Metrics | None":
    """The metrics of the configuration, with series for what is configured."""
    if config.metrics is None:
        return None
    from crplugins.plugins.metrics.plugin import Metrics  # prometheus_client, needed only here

    names = [*served, *config.aliases, *(name for team in config.team_aliases.values() for name in team)]
    metrics = Metrics(
        dict.fromkeys(names),
        config.key_ids(),
        key_cap=config.metrics.key_cap,
        inter_chunk=config.metrics.inter_chunk,
    )
    if ledger is not None:
        metrics.observe_ledger(ledger)
    return metrics


def metrics_app(config: Config, metrics: "Metrics | None", plugins: Sequence[Plugin]) -> "MetricsApp | None":
    """Where Prometheus scrapes what these plugins count and limit; None where nothing is counted."""
    if metrics is None or config.metrics is None:
        return None
    from crplugins.homes.metrics import MetricsApp, limit_gauges

    gauges = limit_gauges(metrics, plugins)
    if gauges is not None:
        metrics.add_collector(gauges)
    return MetricsApp(metrics, token=config.metrics.secret, refresh=None if gauges is None else gauges.refresh)


def _public_paths(config: Config) -> tuple[str, ...]:
    """Paths that need no key. The admin API and the metrics have tokens of their own."""
    paths = [*PUBLIC_PATHS, OPENAPI_PATH]
    if config.metrics is not None:
        paths.append(config.metrics.path)
    if config.admin is not None:
        paths += [*admin.PUBLIC_PATHS, ADMIN_USAGE_PATH]
    return tuple(paths)


def _estimator(config: Config) -> Estimator | None:
    if config.usage.estimator == "bytes":
        return None
    from crplugins.handlers.litellm.estimator import LitellmEstimator

    return LitellmEstimator()
