"""Generation: one configuration of a gateway, assembled: the plugins around the handlers, as one ASGI app.

client -> PluginMiddleware [those of homes/assembly.py, your own] -> ModelEndpoint -> direct | litellm
                                                           -> MetricsApp
                                                           -> Web: models, health, usage, openapi.json, admin, the page
"""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins import __version__
from crplugins.asgi.lifespan import Resource
from crplugins.asgi.middleware import PluginMiddleware
from crplugins.asgi.scope import find_exchange
from crplugins.config import Config
from crplugins.core.exchange import Exchange
from crplugins.core.paths import model_paths, without_version
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.handlers.endpoint import ModelEndpoint
from crplugins.handlers.loading import Loading, Missing
from crplugins.homes.assembly import assemble, find
from crplugins.homes.gateway.fallback_gate import FallbackGate
from crplugins.homes.gateway.front import without_prefix
from crplugins.homes.gateway.made_later import MadeLater
from crplugins.homes.gateway.open_handlers import Served
from crplugins.homes.gateway.stored import StoredEndpoint
from crplugins.homes.gateway.upstreams import Upstreams
from crplugins.homes.gateway.worker_states import WorkerState, worker_state
from crplugins.homes.page.paths import PUBLIC_PATHS as PAGE_PATHS
from crplugins.homes.parts import Parts, configured_aliases
from crplugins.homes.price_refresh import PriceRefresh
from crplugins.keys.key import Key
from crplugins.plugins.aliases.access import has_model, names_for, visible_models
from crplugins.plugins.aliases.explain import key_warnings
from crplugins.plugins.auth import PUBLIC_PATHS
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas
from crplugins.plugins.rate_limits.plugin import RateLimits

if TYPE_CHECKING:
    from starlette.routing import Route

    from crplugins.homes.caller_limits import CallerLimits
    from crplugins.homes.gateway.web import Readiness
    from crplugins.ledger.ledger import Ledger
from crplugins.homes.gateway.state import GatewayState

OPENAPI_PATH: Final = "/openapi.json"
ADMIN_USAGE_PATH: Final = "/admin/usage"


class Generation:
    """One configuration as it is served: plugins, handlers, routes. A request has the same one until it ends.

    Where the one before it, `previous`, had the same (keys, ledger, levels of limits, connections, counters), it is
    taken over. Both are open until the last request of `previous` has ended.

    Attributes:
        running: how many requests have it.

    Raises `ConfigError`.
    """

    def __init__(self, config: Config, state: GatewayState, previous: "Generation | None" = None) -> None:
        self.config = config
        self.running = 0
        if previous is not None:
            config.keep_prices_of(previous.config)
        self._state = state
        self._ended = asyncio.Event()
        entries = zip(config.model_list, config.deployments(), strict=True)
        fallback = config.budgets.fallback()
        served = [Served(made, entry.handler, (entry.model_info, fallback, config.prices)) for entry, made in entries]
        sessions = config.limits.identity.session_sources
        self._upstreams: Upstreams = Upstreams(
            served,
            config.groups(),
            sessions,
            config.fallback_table(),
            previous=None if previous is None else previous._upstreams,
            missing_usage=config.missing_usage,
            in_litellms_file=config.is_litellms,
        )
        parts = Parts(
            config,
            self._upstreams.price,
            served=self._upstreams.served,
            serves=self._upstreams.price.serves,
            metric_names=[*self._upstreams.served, *configured_aliases(config)],
            public_paths=_public_paths(config),
            place_of=self._upstreams.place,
            previous=None if previous is None else previous._parts,
        )
        self._parts: Parts = parts
        self.plugins = assemble(parts, "gateway")
        if previous is not None:
            _take_over(self.plugins, previous.plugins)
        self._upstreams.quotas = find(DeploymentQuotas, self.plugins)
        if self._upstreams.fallbacks is not None:
            self._upstreams.fallbacks.gate = FallbackGate(self.plugins)
        self._aliases = parts.aliases.table
        self._models = ModelEndpoint(
            self._upstreams.find,
            keep_alive=config.server.stream_keep_alive_seconds,
            in_background=self._in_background,
        )
        self._kept = StoredEndpoint(self._upstreams.keeper, state.background)
        dialects = config.server.dialects
        self._model_paths = model_paths(dialects)
        self._web = MadeLater(partial(self._made_web, self._admin_routes()))
        resources: list[Resource] = [self._upstreams, PriceRefresh(config.listed_prices)]
        self._app = PluginMiddleware(
            self._dispatch,
            plugins=self.plugins,
            resources=[*resources, state.workers] if config.admin is not None else resources,
            paths=without_version(dialects),
            dialects=dialects,
            max_body_bytes=config.server.max_body_bytes,
            find_uncovered=False,
            opening=parts.opening,
            faults=state.faults,
        )
        self._cors = MadeLater(self._made_cors)
        self._origins = config.server.allowed_origins
        self._root_path = config.server.root_path
        self._metrics = parts.metrics_app
        self._metrics_path = config.metrics.path if config.metrics is not None else None

        parts.previous = None  # nor what was before it

    def begin(self) -> None:
        """Requests get this one from now on, and metrics and the admin API show how it stands."""
        self._state.activity = self._activity
        metrics, scraper, section = self._parts.metrics, self._parts.scraper, self.config.metrics
        if metrics is None or scraper is None or section is None:
            return
        with scraper.watching_anew(section.secret):
            scraper.watch(self.plugins, self._state.faults)
            metrics.observe_deployments(self._upstreams.deployments, len(self.config.model_list))
            metrics.observe_loads(self._state.loads)

    async def open(self) -> None:
        """Open what it needs and is not open. Raises what that raises."""
        await self._app.open()

    async def close(self) -> Exception | None:
        """Close what no other generation has open. What went wrong with it."""
        return await self._app.close()

    def left(self) -> None:
        """One of the requests that have it has ended, and no further one is given it."""
        if not self.running:
            self._ended.set()

    async def ended(self) -> None:
        """Returns when no request has it any more; no further one may be given it."""
        while self.running:
            self._ended.clear()
            await self._ended.wait()

    def resolve(self) -> None:
        """Decide which handler serves each model, before anything listens; but of those that wait for litellm. Blocks.

        Raises `UpstreamUnknown`.
        """
        self._upstreams.resolve()

    async def loaded(self) -> None:
        """Returns when every model answers at once, or never will: litellm is imported while the gateway listens."""
        await self._upstreams.loaded()

    def drain(self) -> None:
        """The process ends as soon as what runs has ended: no plugin lets anything more begin or wait."""
        self._app.drain()

    def waiting(self) -> list[str]:
        """The names of the models that do not answer yet, as litellm is imported for them."""
        return self._upstreams.names_with_only(Loading)

    def _readiness(self) -> "Readiness":
        from crplugins.homes.gateway.web import Readiness  # by whom it is asked

        return Readiness(
            "stopping" if self._state.draining else "ok" if self._upstreams.ready else "starting",
            waiting=self.waiting(),
            not_installed=self._upstreams.names_with_only(Missing),
            prices=self.config.listed_prices.source,
        )

    def warnings(self, keys: Sequence[Key]) -> list[str]:
        """A sentence for each alias, each model that one of `keys` may call, and each price that is doubtful.

        Blocks: litellm's table of prices may have to be read.
        """
        aliases = self._parts.aliases
        names = key_warnings([key.principal for key in keys], aliases.table, self._upstreams.served)
        return [*aliases.warnings, *names, *self._parts.unpriced_warnings(keys=keys)]

    def handle(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """As an ASGI app, for who awaits it at once; see `PluginMiddleware.handle`."""
        if self._root_path:
            scope = without_prefix(scope, self._root_path)
        if scope["type"] == "http" and (self._origins or scope["method"] == "OPTIONS"):
            return self._cors(scope, receive, send)
        return self._app.handle(scope, receive, send)

    def _in_background(self, exchange: Exchange) -> None:
        """A request for a response in the background, which has this configuration until its provider has ended."""
        section = self.config.responses
        self._state.background.admit(
            exchange,
            most=section.max_background,
            seconds=section.background_seconds,
            began=self._begun_in_background,
            done=self._ended_in_background,
        )

    def _begun_in_background(self) -> None:
        self.running += 1

    def _ended_in_background(self) -> None:
        self.running -= 1
        self.left()

    def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        target: ASGIApp = self._web
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if scope["method"] == "POST" and path in self._model_paths:
                target = self._models
            elif (exchange := find_exchange(scope)) is not None and exchange.inner_path is not None:
                target = self._kept
            elif self._metrics is not None and path == self._metrics_path:
                target = self._metrics
        return target(scope, receive, send)

    def _made_web(self, admin_routes: "Sequence[Route]") -> ASGIApp:
        from crplugins.homes.gateway.limits_api import LimitsApi
        from crplugins.homes.gateway.web import Web
        from crplugins.homes.page.page import page_routes

        web = Web(
            self._visible_models,
            self._readiness,
            self._openapi,
            self._state.loads,
            self._model_paths,
            has_model=self._has_model,
        )
        routes = [*admin_routes, *_usage_routes(self.config, self._parts.ledger), *LimitsApi(self._limits_of).routes()]
        return web.app([*routes, *page_routes(self.config)])

    def _made_cors(self) -> ASGIApp:
        from crplugins.homes.gateway.cors import Cors

        return Cors(self._app, self._origins)

    def _admin_routes(self) -> "list[Route]":
        config = self.config
        if config.admin is None:
            return []
        from crplugins.homes.gateway.administration import admin_routes  # nothing of it is needed without

        workers, reload = self._state.workers, self._state.reload_now
        return admin_routes(config, config.admin, self._parts.keys, workers, self._limits_of, reload)

    def _activity(self) -> WorkerState:
        return worker_state(self.plugins, self._upstreams.deployments())

    def _visible_models(self, principal: Principal | None) -> Sequence[str]:
        return visible_models(principal, self._aliases, self._upstreams.served, shadow=self.config.models_shadow)

    def _has_model(self, principal: Principal | None, name: str) -> bool:
        served, shadow = self._upstreams.served, self.config.models_shadow
        return has_model(name, principal, self._aliases, served, shadow=shadow)

    async def _limits_of(self, principal: Principal) -> "CallerLimits":
        """Raises `StoreUnavailable`."""
        from crplugins.homes.caller_limits import read_caller_limits  # not needed to start

        rate_limits, budgets = find(RateLimits, self.plugins), find(Budgets, self.plugins)
        assert rate_limits is not None, "they have their place in every gateway"
        assert budgets is not None, "they have their place in every gateway"
        return await read_caller_limits(principal, rate_limits, budgets, self._names_for)

    def _names_for(self, principal: Principal, model: str) -> Sequence[str]:
        return names_for(principal, model, self._aliases, shadow=self.config.models_shadow)

    def _openapi(self) -> dict[str, Any]:
        from crplugins.homes.gateway.openapi import with_admin, with_limits, with_usage  # sqlalchemy, needed only here
        from crplugins.homes.gateway.operations import with_operations
        from crplugins.schema import openapi_document  # pydantic's models of the schema, likewise

        root_path = self.config.server.root_path
        document = openapi_document(title="crplugins", version=__version__, server_url=root_path or None)
        if self.config.admin is not None:
            document = with_operations(with_admin(document))
        document = with_limits(document, admin=self.config.admin is not None)
        if self.config.ledger is not None:
            document = with_usage(document, admin=self.config.admin is not None)
        return document


def _take_over(plugins: Sequence[Plugin], previous: Sequence[Plugin]) -> None:
    """Each goes on with what one of its class has learned."""
    others = list(previous)
    for plugin in plugins:
        before = next((each for each in others if type(each) is type(plugin)), None)
        if before is not None:
            others.remove(before)
            if before is not plugin:
                plugin.take_over(before)


def _usage_routes(config: Config, ledger: "Ledger | None") -> "list[Route]":
    if ledger is None:
        return []
    from crplugins.homes.gateway.usage_api import UsageApi

    return UsageApi(ledger, admin_tokens=config.admin.by_name if config.admin else None).routes()


def _public_paths(config: Config) -> tuple[str, ...]:
    """Paths that need no key. The admin API and the metrics have tokens of their own."""
    paths = [*PUBLIC_PATHS, *PAGE_PATHS, OPENAPI_PATH]
    if config.metrics is not None:
        paths.append(config.metrics.path)
    if config.admin is not None:
        from crplugins.homes.gateway import administration

        paths += [*administration.PUBLIC_PATHS, ADMIN_USAGE_PATH]
    return tuple(paths)
