"""The named middlewares: one plugin each, in front of any ASGI app, configured in the words of the YAML file.

    app.add_middleware(RateLimitMiddleware, limits={"per_key": {"requests_per_minute": 60}})
    app.add_middleware(AuthMiddleware, keys=[{"id": "team-a", "secret": "sk-..."}])

Neighbours become one and take their one order (`middlewares_order.py`), whichever was added first. Each class takes
`max_body_bytes`, `clock` and `new_id` too, as PluginMiddleware has them.

All raise `ConfigError` for what the file could not say either, and for a keyword they do not know.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import Config, ConfigError, Problem, parse_config
from crplugins.core.plugin import Plugin
from crplugins.core.principal import MissingUsagePolicy, OnDisconnect, Principal
from crplugins.homes.assembly import make_budgets, open_ledger, open_reservations
from crplugins.homes.metrics import MetricsPage
from crplugins.homes.middlewares_order import check_order, in_order, plugins_inside
from crplugins.homes.middlewares_parts import AnswerReader, SpentReader, alias_names, builtin
from crplugins.homes.price_list import PriceList
from crplugins.keys.inline import InlineKeys
from crplugins.keys.opening import open_source
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.auth import PUBLIC_PATHS, Auth
from crplugins.plugins.disconnects import Disconnects
from crplugins.plugins.host_principal import HOST_CALLER, HostPrincipal
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.plugins.usage import Sink, Usage
from crplugins.settings.errors import did_you_mean

ANY_MODEL: Final = ({"model_name": "*", "litellm_params": {"model": "openai/*"}},)
"""The model list in front of an app that has its models itself: no name is unknown."""


def read_words(words: Mapping[str, Any], unknown: Iterable[str] = ()) -> Config:
    """The sections in `words`, checked as those of a file are.

    Raises `ConfigError` with every problem; `unknown` are keywords that nobody takes.
    """
    problems = [_unknown(name, words) for name in unknown]
    try:
        given = {name: value for name, value in words.items() if value is not None}
        config = parse_config({"model_list": ANY_MODEL, **given})
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return config


def missing(name: str) -> ConfigError:
    return ConfigError([Problem((name,), "is missing")])


def _unknown(name: str, words: Iterable[str]) -> Problem:
    known = sorted(words)
    choice = f", known are {', '.join(known)}" if known else ", nothing is configured here"
    return Problem((name,), f"unknown key{did_you_mean(name, known) or choice}")


Words = Mapping[str, Any]

_OPTIONS: Final = ("max_body_bytes", "clock", "new_id")


class NamedMiddleware(PluginMiddleware):
    """Base of the named ones: neighbours in their order, nothing of ours in the wrong place behind a foreign one."""

    def __init__(self, app: ASGIApp, plugins: Sequence[Plugin], options: Words) -> None:
        super().__init__(app, plugins=plugins, **options)
        check_order(self.plugins, self.app)
        self._watch()

    def _fuse(self) -> None:
        super()._fuse()
        self.plugins = in_order(self.plugins)

    def _watch(self) -> None:
        """Have the metrics show what stands further in, and the faults of this boundary."""
        for plugin in self.plugins:
            if isinstance(plugin, MetricsPage):
                plugin.watch([*self.plugins, *plugins_inside(self.app)], self.faults)


def _checked(words: Words, others: Words) -> Config:
    """The configuration in a middleware's own keywords; `others` may only hold options."""
    return read_words(words, [name for name in others if name not in _OPTIONS])


class AuthMiddleware(NamedMiddleware):
    """A key in front of every path of the app; see `Auth`.

    Args:
        keys: a list of keys, or a source: `{file: ...}`, `{sql: ...}`, `{jwt: {...}}`.
        public_paths: paths that need none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Sequence[Words] | Words | None = None,
        public_paths: Iterable[str] = PUBLIC_PATHS,
        **others: Any,
    ) -> None:
        config = _checked({"keys": keys}, others)
        if keys is None:
            raise missing("keys")
        super().__init__(app, [Auth(open_source(config.keys), public_paths=public_paths)], others)


class ModelAliasMiddleware(NamedMiddleware):
    """Names of one's own for models, inwards and outwards; see `ModelAliases`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        aliases: Words | None = None,
        team_aliases: Mapping[str, Words] | None = None,
        response_model: Literal["requested", "served"] | None = None,
        hidden_model_status: Literal[404, 403] | None = None,
        **others: Any,
    ) -> None:
        words = {"aliases": aliases, "team_aliases": team_aliases, "response_model": response_model}
        config = _checked({**words, "hidden_model_status": hidden_model_status}, others)
        plugin = ModelAliases(
            aliases=config.aliases,
            teams=config.team_aliases,
            response_model=config.response_model,
            hidden_status=config.hidden_model_status,
        )
        super().__init__(app, [plugin], others)


class RateLimitMiddleware(NamedMiddleware):
    """How much may be used in a time; see `RateLimits`. Keys bring limits of their own."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Words | None = None,
        missing_usage: MissingUsagePolicy | None = None,
        **others: Any,
    ) -> None:
        config = _checked({"limits": limits, "missing_usage": missing_usage}, others)
        super().__init__(app, [builtin(config, RateLimits)], others)


class BudgetMiddleware(NamedMiddleware):
    """How much may be spent; see `Budgets`. Keys bring budgets of their own.

    Args:
        limits: of it, where use is kept (`store`) and how long an answer is taken to be.
        ledger: that of UsageMiddleware, to begin with what has been spent; without it a restart forgets.
        model_list: what models cost, in `model_info`; without it litellm's list, if it is installed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        budgets: Words | None = None,
        limits: Words | None = None,
        ledger: Words | None = None,
        model_list: Sequence[Words] | None = None,
        missing_usage: MissingUsagePolicy | None = None,
        **others: Any,
    ) -> None:
        words = {"budgets": budgets, "limits": limits, "ledger": ledger, "model_list": model_list}
        config = _checked({**words, "missing_usage": missing_usage}, others)
        owned: list[Plugin] = [prices := PriceList(config.deployments())]
        spent = None
        if config.ledger is not None:
            owned.append(reader := SpentReader(config.ledger.url))
            spent = reader.spent
        super().__init__(app, [*owned, make_budgets(config, open_reservations(config), prices, spent)], others)


class StreamUsageMiddleware(NamedMiddleware):
    """Every stream is asked for its usage, and only who asked for it sees it; see `StreamUsage`."""

    def __init__(self, app: ASGIApp, **others: Any) -> None:
        _checked({}, others)
        super().__init__(app, [StreamUsage()], others)


class UsageMiddleware(NamedMiddleware):
    """One record of every request, in the ledger and in each sink; see `Usage`, `MissingUsage`, `Disconnects`.

    Args:
        usage: how tokens are counted.
        ledger: where records are kept; None for nowhere.
        model_list: what models cost, in `model_info`; without it litellm's list, if it is installed.
        sinks: called with each record.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ledger: Words | None = None,
        usage: Words | None = None,
        model_list: Sequence[Words] | None = None,
        on_disconnect: OnDisconnect | None = None,
        missing_usage: MissingUsagePolicy | None = None,
        sinks: Iterable[Sink] = (),
        **others: Any,
    ) -> None:
        words = {"ledger": ledger, "usage": usage, "model_list": model_list, "on_disconnect": on_disconnect}
        config = _checked({**words, "missing_usage": missing_usage}, others)
        books, prices = open_ledger(config), PriceList(config.deployments())
        records = Usage(books, sinks=sinks, metadata=config.usage.metadata, prices=prices)
        super().__init__(app, [prices, records, builtin(config, Disconnects), builtin(config, MissingUsage)], others)


class MetricsMiddleware(NamedMiddleware):
    """Counts chat completions and serves the counts under `metrics.path`; see `Metrics`.

    Args:
        metrics: `{path: /metrics, token: ...}`; a token of None serves everybody.
        models: names that have series of their own, besides those in a ModelAliasMiddleware further in; any other is
            `other`.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: Words | None = None, models: Iterable[str] = (), **others: Any
    ) -> None:
        section = _checked({"metrics": metrics}, others).metrics
        if section is None:
            raise missing("metrics")
        inside = plugins_inside(app)
        names = dict.fromkeys([*models, *_names_in(inside)])
        counting = Metrics(names, _keys_in(inside), key_cap=section.key_cap, inter_chunk=section.inter_chunk)
        page = MetricsPage(counting, path=section.path, token=section.secret)
        super().__init__(app, [page, counting, AnswerReader()], others)


class HostPrincipalMiddleware(NamedMiddleware):
    """The caller is whom the host has found, and put into the ASGI scope; see `HostPrincipal`.

    Stands right inside the host's own authentication, and does not become one with what is further out.

    Args:
        key: where in the scope: `user`, or with dots, `state.user`.
        principal: makes a Principal of what stands there; None for `principal_of`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str = "user",
        principal: Callable[[Any], Principal | None] | None = None,
        **others: Any,
    ) -> None:
        _checked({}, others)
        self._path = key.split(".")
        super().__init__(app, [HostPrincipal(principal)], others)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found: Any = scope
        for name in self._path:
            found = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
        token = HOST_CALLER.set(found)
        try:
            await super().__call__(scope, receive, send)
        finally:
            HOST_CALLER.reset(token)


def _names_in(plugins: Iterable[Plugin]) -> Iterable[str]:
    for plugin in plugins:
        if isinstance(plugin, ModelAliases):
            yield from alias_names(plugin.table)


def _keys_in(plugins: Iterable[Plugin]) -> Iterable[str]:
    for plugin in plugins:
        if isinstance(plugin, Auth) and isinstance(plugin.source, InlineKeys):
            yield from (key.principal.key_id for key in plugin.source.keys)
