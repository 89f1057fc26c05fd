"""The named middlewares: one plugin each, in front of any ASGI app, configured in the words of the YAML file.

    app.add_middleware(RateLimitMiddleware, limits={"per_key": {"requests_per_minute": 60}})
    app.add_middleware(AuthMiddleware, keys=[{"id": "team-a", "secret": "sk-..."}])

Neighbours become one and take their one order (`homes/order.py`), whichever was added first. Each class takes `paths`,
`max_body_bytes`, `clock` and `new_id` too, as PluginMiddleware has them.

All raise `ConfigError` for what the file could not say either, and for a keyword they do not know.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.lifespan import Resource
from crplugins.asgi.middleware import PluginMiddleware
from crplugins.asgi.scope import OUTSIDE_KEY, find_exchange
from crplugins.config import Config, ConfigError, Problem, parse_config
from crplugins.core.plugin import Plugin
from crplugins.core.principal import MissingUsagePolicy, OnDisconnect, Principal
from crplugins.core.usage import Price
from crplugins.homes.assembly import ONLY_THE_GATEWAY, find, limits_deployments, make
from crplugins.homes.metrics import MetricsPage
from crplugins.homes.order import check_callers, check_order, in_order, plugins_inside
from crplugins.homes.parts import Parts, Prices
from crplugins.homes.price_list import PriceList
from crplugins.homes.spent import SpentReader
from crplugins.keys.inline import InlineKeys
from crplugins.plugins.admission import Admission
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.aliases.table import names_in
from crplugins.plugins.auth import PUBLIC_PATHS, Auth
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.disconnects import Disconnects
from crplugins.plugins.host_principal import HOST_CALLER, HostPrincipal
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.stored_responses import MessageThreads, ResponseAccess, StoredResponses
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

_OPTIONS: Final = ("paths", "dialects", "max_body_bytes", "clock", "new_id")


def _no_price(model: str) -> Price | None:  # noqa: ARG001  # what a list of prices is asked
    return None


class NamedMiddleware(PluginMiddleware):
    """Base of the named ones: neighbours in their order, nothing of ours in the wrong place behind a foreign one."""

    def __init__(
        self, app: ASGIApp, plugins: Sequence[Plugin], options: Words, *, resources: Sequence[Resource] = ()
    ) -> None:
        try:
            super().__init__(app, plugins=plugins, resources=resources, **options)
        except ValueError as error:
            raise ConfigError([Problem((), str(error))]) from None
        check_order(self.plugins, self.app)
        self._watch()

    def _fuse(self) -> None:
        super()._fuse()
        self.plugins = in_order(self.plugins)

    def _check(self, scope: Scope) -> None:
        outside = scope.get(OUTSIDE_KEY, ())
        check_callers([*outside, *self.plugins], known=find_exchange(scope) is not None)

    def _watch(self) -> None:
        """Have the metrics show what stands further in, and the faults of this boundary."""
        page = find(MetricsPage, self.plugins)
        if page is not None:
            page.scraper.watch([*self.plugins, *plugins_inside(self.app)], self.faults)


def _checked(words: Words, others: Words) -> Config:
    """The configuration in a middleware's own keywords; `others` may only hold options."""
    return read_words(words, [name for name in others if name not in _OPTIONS])


def _parts(config: Config, prices: Prices = _no_price, **others: Any) -> Parts:
    return Parts(config, prices, **others)


class AuthMiddleware(NamedMiddleware):
    """A key in front of every path of the app; see `Auth`. What the app keeps of a response is its key's alone; see
    `StoredResponses`.

    Args:
        responses: what signs the ids of responses.
        keys: a list of keys, or a source: `{file: ...}`, `{sql: ...}`, `{jwt: {...}}`.
        public_paths: paths that need none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Sequence[Words] | Words | None = None,
        public_paths: Iterable[str] = PUBLIC_PATHS,
        responses: Words | None = None,
        **others: Any,
    ) -> None:
        config = _checked({"keys": keys, "responses": responses}, others)
        if keys is None:
            raise missing("keys")
        parts = _parts(config, public_paths=public_paths)
        kept = (StoredResponses, ResponseAccess, MessageThreads)
        super().__init__(app, [make(Auth, parts), *(make(each, parts) for each in kept)], others)


class AdmissionMiddleware(NamedMiddleware):
    """How many requests are served at once, by the priority of their keys; see `Admission`."""

    def __init__(self, app: ASGIApp, *, max_in_flight: int | None = None, **others: Any) -> None:
        if max_in_flight is None:
            raise missing("max_in_flight")
        config = _checked({"server": {"max_in_flight": max_in_flight}}, others)
        super().__init__(app, [make(Admission, _parts(config))], others)


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
        models_shadow: bool | None = None,
        **others: Any,
    ) -> None:
        words = {"aliases": aliases, "team_aliases": team_aliases, "response_model": response_model}
        refusals = {"hidden_model_status": hidden_model_status, "models_shadow": models_shadow}
        config = _checked({**words, **refusals}, others)
        super().__init__(app, [make(ModelAliases, _parts(config))], others)


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
        if limits_deployments(config):
            raise ConfigError([Problem(("limits", "per_deployment"), f"cannot be kept here: {ONLY_THE_GATEWAY}")])
        super().__init__(app, [make(RateLimits, _parts(config))], others)


class BudgetMiddleware(NamedMiddleware):
    """How much may be spent; see `Budgets`. Keys bring budgets of their own.

    Args:
        limits: of it, where use is kept (`store`) and how long an answer is taken to be.
        ledger: that of UsageMiddleware, to begin with what has been spent; without it a restart forgets.
        model_list: what models cost, in `model_info`; without it the list of the installed litellm or genai-prices.
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
        prices = PriceList(config.deployments(), fallback=config.budgets.fallback())
        resources: list[Resource] = [prices]
        spent = None
        if config.ledger is not None:
            reader = SpentReader(config.ledger)
            resources.append(reader)
            spent = reader.spent
        super().__init__(app, [make(Budgets, _parts(config, prices, spent=spent))], others, resources=resources)


class StreamUsageMiddleware(NamedMiddleware):
    """Every stream is asked for its usage, and only who asked for it sees it; see `StreamUsage`."""

    def __init__(self, app: ASGIApp, **others: Any) -> None:
        _checked({}, others)
        super().__init__(app, [StreamUsage()], others)


class UsageMiddleware(NamedMiddleware):
    """One record of every request, in the ledger and in each sink; see `Usage`, `MissingUsage`, `Disconnects`.

    Args:
        usage: how tokens are counted.
        budgets: those of BudgetMiddleware, for the `fallback_price` of models whose price is unknown.
        ledger: where records are kept; None for nowhere.
        model_list: what models cost, in `model_info`; without it the list of the installed litellm or genai-prices.
        sinks: who else gets each record: brokers in the words of the file, or callables and recorders.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ledger: Words | None = None,
        usage: Words | None = None,
        budgets: Words | None = None,
        model_list: Sequence[Words] | None = None,
        on_disconnect: OnDisconnect | None = None,
        missing_usage: MissingUsagePolicy | None = None,
        sinks: Words | Iterable[Sink] = (),
        **others: Any,
    ) -> None:
        words = {"ledger": ledger, "usage": usage, "budgets": budgets, "model_list": model_list}
        if isinstance(sinks, Mapping):
            words, sinks = {**words, "sinks": sinks}, ()
        config = _checked({**words, "on_disconnect": on_disconnect, "missing_usage": missing_usage}, others)
        prices = PriceList(config.deployments(), fallback=config.budgets.fallback())
        parts = _parts(config, prices, prices_records=True, sinks=sinks)
        plugins = [make(Usage, parts), make(Disconnects, parts), make(MissingUsage, parts)]
        super().__init__(app, plugins, others, resources=[prices])


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
        config = _checked({"metrics": metrics}, others)
        if config.metrics is None:
            raise missing("metrics")
        inside = plugins_inside(app)
        auth, aliases = find(Auth, inside), find(ModelAliases, inside)
        keys = auth.source.keys if auth is not None and isinstance(auth.source, InlineKeys) else ()
        parts = _parts(
            config,
            metric_names=[*models, *(names_in(aliases.table) if aliases is not None else ())],
            metric_keys=[key.principal.key_id for key in keys],
        )
        push = [] if parts.metrics_push is None else [parts.metrics_push]
        super().__init__(app, [make(MetricsPage, parts), make(Metrics, parts), *push], others)


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
