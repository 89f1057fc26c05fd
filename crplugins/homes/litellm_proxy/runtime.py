"""Runtime: the plugins of one proxy process, shared by its callback, its authentication and its entry.

Kept by the installed package: LiteLLM runs a callback's file once for each name that refers to it.
"""

import logging
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from crplugins.asgi.lifespan import PluginLifespan
from crplugins.config import Config, find_config, load_config, parse_config
from crplugins.core.dialects import CHAT
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.pipeline import Faults, Pipeline, Run
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.homes.assembly import assemble, find, place_of, reads_chunks, stands_in
from crplugins.homes.litellm_objects import ServingDeployments
from crplugins.homes.litellm_proxy.calls import ProxyCall, ProxyCalls, headers_of
from crplugins.homes.litellm_proxy.names import RouterPrices, served_names, serves
from crplugins.homes.litellm_proxy.routes import LitellmRoutes
from crplugins.homes.litellm_proxy.unasked import UnaskedStreams
from crplugins.homes.parts import Parts, configured_aliases, metrics_app
from crplugins.plugins.auth import Auth

if TYPE_CHECKING:
    from fastapi import Request

    from crplugins.homes.metrics import MetricsApp
    from crplugins.plugins.metrics.plugin import Metrics

logger = logging.getLogger("crplugins.litellm")


AROUND: Final[ContextVar[Exchange | None]] = ContextVar("crplugins.litellm_boundary", default=None)
"""Set where the proxy is called; LiteLLM's tasks and its log events inherit it."""

ANSWERED_BY: Final[Slot[str]] = Slot("litellm_answered_by")
"""The model that the provider's answer names. LiteLLM writes the requested name over it before a boundary sees it."""


class Runtime:
    """Made once the configuration is known and LiteLLM's names are.

    Args:
        config: ours.
        entry: whether the whole proxy is wrapped. With `keys` in `config` all plugins then run there; without, the
            caller is known to LiteLLM alone, and they run in the hooks all the same.

    Attributes:
        guarded: the plugins run around the proxy, and the hooks only tell them what they see.
    """

    def __init__(self, config: Config, *, entry: bool) -> None:
        self.config: Final = config
        self.has_keys: Final = bool(config.keys)
        self.guarded: Final = entry and self.has_keys
        self.calls: Final = ProxyCalls()
        self.metadata: Final = (*config.usage.metadata, *config.limits.identity.metadata_names)
        """The names in a request's metadata that plugins read."""
        self.deployments: Final = ServingDeployments()
        self.unasked: Final = UnaskedStreams()
        self.faults: Final = Faults()
        parts = Parts(
            config,
            RouterPrices(config.budgets.fallback()),
            serves=serves,
            models=(),  # LiteLLM's are known once it has started: see `unpriced_warnings`
            metric_names=[*served_names(config), *configured_aliases(config)],
            public_paths=_public_paths(config),
            response_model=None if self.guarded else "served",  # in the hooks LiteLLM puts the requested name back
        )
        plugins = assemble(parts, "litellm_entry")
        auth = find(Auth, plugins)
        self._auth: Final = auth if self.has_keys else None  # without keys of ours LiteLLM knows the caller
        self.routes: Final = find(LitellmRoutes, plugins)
        self.plugins: Final[Sequence[Plugin]] = [p for p in plugins if self.has_keys or p not in (auth, self.routes)]
        self.aliases: Final = parts.aliases
        inside = [plugin for plugin in self.plugins if stands_in(plugin, "litellm_callback")]
        others = [plugin for plugin in inside if self._sees_other_apis(plugin)]
        limit = config.server.max_body_bytes
        self._outside: Final = Pipeline(self._outside_auth(), self.faults, limit)
        self._authentication: Final = Pipeline(() if self._auth is None else (self._auth,), self.faults, limit)
        self._chat: Final = Pipeline(inside, self.faults, limit)
        self._other: Final = Pipeline(others, self.faults, limit)
        self.reads_chunks: Final = any(reads_chunks(plugin) for plugin in inside)
        self._lifespan: Final = PluginLifespan(self.plugins)
        self._parts: Final = parts

    @property
    def metrics(self) -> "Metrics | None":
        return self._parts.metrics

    def unpriced_warnings(self) -> list[str]:
        """Of the models that LiteLLM serves, once it has started. Blocks while the table of prices is read."""
        return self._parts.unpriced_warnings(served_names(self.config))

    def _sees_other_apis(self, plugin: Plugin) -> bool:
        """Ours count and limit their tokens too. One's own may edit what is no chat completion only if it says so.

        Where the whole proxy is wrapped, it has seen the request there then.
        """
        if place_of(plugin) is None:
            return plugin.observes if not plugin.every_path else not self.guarded
        return stands_in(plugin, "litellm_other_apis")

    def _outside_auth(self) -> Sequence[Plugin]:
        """What sees a request without a good key."""
        return self.plugins[: self.plugins.index(self._auth)] if self._auth is not None else ()

    async def opened(self) -> "Runtime":
        """With the plugins open. Raises `GatewayError` 500 where one cannot be opened; the log says why."""
        if not self.guarded and not self._lifespan.open and not await self._lifespan.opened():
            raise GatewayError(500, "The server had an error while processing your request.", type="server_error")
        return self

    async def close(self) -> None:
        """Close the plugins, once the calls of which LiteLLM has yet to report the end are settled."""
        await self.calls.settled()
        await self._lifespan.close()

    async def authenticate(self, exchange: Exchange) -> None:
        """Set the principal. Raises `GatewayError`; without keys of ours nobody can be known."""
        if self._auth is None:
            logger.error("custom_auth needs `keys` in the configuration")
            raise GatewayError(401, "Incorrect API key provided.", code="invalid_api_key")
        run = Run(self._authentication, exchange)
        try:
            await run.down()
            run.conclude(200)  # of its Exchange: the hooks make another one for what follows
        except GatewayError as error:
            run.conclude(error.status, error)
            raise
        finally:
            run.conclude(None, left=True)
            run.finish()

    def check_route(self, request: "Request", principal: Principal | None) -> None:
        """Raise `GatewayError` 403 unless the caller may use the route that LiteLLM has found."""
        assert self.routes is not None, "it has its place in the entry"
        self.routes.check_route(request, principal)

    async def unauthenticated(self, exchange: Exchange, error: GatewayError) -> tuple[GatewayError, dict[str, str]]:
        """The whole life of a request that has no good key: the error that its client is sent, and its headers.

        A chat completion passes the plugins outside Auth, as it does in every other home. They count it, and one of
        them may have refused it before anybody looked at a key.
        """
        if not exchange.asks_model:
            return error, headers_of(error)
        call = ProxyCall(Run(self._outside, exchange))
        try:
            try:
                await call.enter()
            except GatewayError as earlier:
                error = earlier
            sent, headers = call.refusal_headers(error)
            await call.end(sent.status, sent)
        finally:
            call.settle(None, left=True)  # no effect, unless the client has disconnected meanwhile
        return sent, headers

    def call(self, exchange: Exchange) -> ProxyCall:
        chat = exchange.dialect is CHAT
        return ProxyCall(Run(self._chat if chat else self._other, exchange), chat=chat)

    def metrics_app(self, faults: Faults) -> "MetricsApp | None":
        """What Prometheus scrapes; None where nothing is counted. `faults` are those of whoever runs the plugins."""
        return metrics_app(self._parts, self.plugins, faults)


def _public_paths(config: Config) -> tuple[str, ...]:
    """LiteLLM's /health makes a paid call to every model, and making its /openapi.json takes seconds."""
    return () if config.metrics is None else (config.metrics.path,)


class _Kept:
    """What this process has."""

    config: Config | None = None
    runtime: Runtime | None = None
    entry: bool = False


def configuration() -> Config:
    """The file in `CRPLUGINS_CONFIG`, read once. Raises `ConfigError`."""
    if _Kept.config is None:
        path = find_config(None)
        _Kept.config = parse_config({}) if path is None else load_config(path)
        for warning in _Kept.config.warnings:
            logger.warning("%s", warning)
    return _Kept.config


def runtime() -> Runtime:
    if _Kept.runtime is None:
        _Kept.runtime = Runtime(configuration(), entry=_Kept.entry)
    return _Kept.runtime


def entry_runtime() -> Runtime:
    """The runtime of a process whose whole proxy is wrapped. To be called before any other."""
    _Kept.entry = True
    return runtime()


def boundary() -> Exchange | None:
    """None where the plugins run in the hooks."""
    return AROUND.get()
