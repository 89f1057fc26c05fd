"""Gateway: the plugins around the handlers, as one ASGI app.

client -> PluginMiddleware [those of homes/assembly.py, your own] -> ChatCompletions -> direct | litellm
                                                           -> MetricsApp
                                                           -> Web: models, health, usage, openapi.json, admin, the page
"""

import os
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins import __version__
from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import Config, find_config, load_config, parse_config
from crplugins.config.words import ConfigWords
from crplugins.core.paths import CHAT_PATH
from crplugins.core.principal import Principal
from crplugins.handlers.endpoint import ChatCompletions
from crplugins.homes import caller_limits
from crplugins.homes.assembly import assemble, find
from crplugins.homes.caller_limits import CallerLimits, read_caller_limits
from crplugins.homes.gateway import admin, operations
from crplugins.homes.gateway.fallback_gate import FallbackGate
from crplugins.homes.gateway.front import Cors, without_prefix
from crplugins.homes.gateway.limits_api import AdminLimitsApi, LimitsApi, with_limits
from crplugins.homes.gateway.upstreams import Served, Upstreams
from crplugins.homes.gateway.web import Readiness, Web
from crplugins.homes.gateway.worker_states import WorkerState, WorkerStates, worker_state, workers_directory
from crplugins.homes.page import page
from crplugins.homes.parts import Parts, configured_aliases, metrics_app
from crplugins.keys.gathered import GatheredKeys
from crplugins.keys.key import Key
from crplugins.keys.service import KeyService
from crplugins.plugins.aliases.access import names_for, visible_models
from crplugins.plugins.aliases.explain import key_warnings
from crplugins.plugins.auth import PUBLIC_PATHS
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.rate_limits.deployments import DeploymentQuotas
from crplugins.plugins.rate_limits.plugin import RateLimits

if TYPE_CHECKING:
    from crplugins.ledger.ledger import Ledger

OPENAPI_PATH: Final = "/openapi.json"
ADMIN_USAGE_PATH: Final = "/admin/usage"

RUN_KEY_VARIABLE: Final = "CRPLUGINS_RUN_KEY"
"""A key made for this run by `crplugins serve`, handed to its worker processes."""

LIMIT_STORE_VARIABLE: Final = "CRPLUGINS_LIMIT_STORE"
"""Likewise a limit store, where the configuration has one of each process's own."""


class Gateway:
    """An OpenAI-compatible chat completions gateway: an ASGI app that any server runs.

        app = Gateway(
            model_list=[{"model_name": "fast", "litellm_params": {"model": "openai/gpt-4o-mini"}}],
            keys=[{"id": "team-a", "secret": "sk-..."}],
        )

    The keywords are the keys of the configuration file, with the same shapes. Without `model_list` it serves the demo
    model. Without `keys` every request is refused, unless a HostPrincipalMiddleware around it knows the caller.

    Raises `ConfigError`.
    """

    def __init__(self, **words: Unpack[ConfigWords]) -> None:
        self._assemble(parse_config(words))

    @classmethod
    def from_config(cls, config: Config) -> Self:
        gateway = cls.__new__(cls)
        gateway._assemble(config)
        return gateway

    def _assemble(self, config: Config) -> None:
        self.config = config
        self._draining = False
        handlers = [entry.handler for entry in config.model_list]
        served = [Served(*each) for each in zip(config.deployments(), handlers, strict=True)]
        sessions = config.limits.identity.session_sources
        self._upstreams = Upstreams(served, config.groups(), sessions, config.fallback_table())
        self._parts = parts = Parts(
            config,
            self._upstreams.price,
            served=self._upstreams.served,
            serves=self._upstreams.price.serves,
            metric_names=[*self._upstreams.served, *configured_aliases(config)],
            public_paths=_public_paths(config),
        )
        self.plugins = assemble(parts, "gateway")
        self._upstreams.quotas = find(DeploymentQuotas, self.plugins)
        self._upstreams.missing_usage = config.missing_usage
        if self._upstreams.fallbacks is not None:
            self._upstreams.fallbacks.gate = FallbackGate(self.plugins)
        self._aliases = parts.aliases.table
        self._chat = ChatCompletions(self._upstreams.find, keep_alive=config.server.stream_keep_alive_seconds)
        web = Web(self._visible_models, self._readiness, self._openapi)
        self._states = WorkerStates(self._state, workers_directory())
        routes = [*self._admin_routes(), *_usage_routes(config, parts.ledger), *self._limits_routes()]
        self._web = web.app([*routes, *page.page_routes(config)])
        self._app = PluginMiddleware(
            self._dispatch,
            plugins=self.plugins,
            resources=[self._upstreams, self._states] if config.admin is not None else [self._upstreams],
            max_body_bytes=config.server.max_body_bytes,
            find_uncovered=False,
        )
        self._cors = Cors(self._app, config.server.allowed_origins)
        self._root_path = config.server.root_path
        if parts.metrics is not None:
            parts.metrics.observe_deployments(self._upstreams.deployments, len(config.model_list))
        self._metrics = metrics_app(parts, self.plugins, self._app.faults)
        self._metrics_path = config.metrics.path if config.metrics is not None else None

    def resolve(self) -> None:
        """Decide which handler serves each model, before anything listens; but of those that wait for litellm. Blocks.

        Raises `UpstreamUnknown`.
        """
        self._upstreams.resolve()

    async def loaded(self) -> None:
        """Returns when every model answers at once, or never will: litellm is imported while the gateway listens."""
        await self._upstreams.loaded()

    def drain(self) -> None:
        """The process ends as soon as what runs has ended: from now on chat completions and /readyz get 503."""
        self._draining = True
        self._app.drain()

    def _readiness(self) -> Readiness:
        return "stopping" if self._draining else "ok" if self._upstreams.ready else "starting"

    def warnings(self, keys: Sequence[Key]) -> list[str]:
        """A sentence for each alias, each model that one of `keys` may call, and each price that is doubtful.

        Blocks: litellm's table of prices may have to be read.
        """
        aliases = self._parts.aliases
        names = key_warnings([key.principal for key in keys], aliases.table, self._upstreams.served)
        return [*aliases.warnings, *names, *self._parts.unpriced_warnings(keys=keys)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._root_path:
            scope = without_prefix(scope, self._root_path)
        if self._cors.concerns(scope):
            await self._cors(scope, receive, send)
        else:
            await self._app.handle(scope, receive, send)

    def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        target: ASGIApp = self._web
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            if scope["method"] == "POST" and path in ("/v1" + CHAT_PATH, CHAT_PATH):
                target = self._chat
            elif self._metrics is not None and path == self._metrics_path:
                target = self._metrics
        return target(scope, receive, send)

    def _admin_routes(self) -> list[Route]:
        config = self.config
        if config.admin is None:
            return []
        service, tokens = KeyService(GatheredKeys(self._parts.keys)), config.admin.by_name
        looks = operations.OperationsApi(config, self._states, service, self._limits_of, tokens)
        limits = AdminLimitsApi(self._limits_of, service, tokens)
        return [*admin.AdminApi(service, tokens).routes(), *looks.routes(), *limits.routes()]

    def _state(self) -> WorkerState:
        return worker_state(self.plugins, self._upstreams.deployments())

    def _visible_models(self, principal: Principal | None) -> Sequence[str]:
        return visible_models(principal, self._aliases, self._upstreams.served, shadow=self.config.models_shadow)

    def _limits_routes(self) -> list[Route]:
        return LimitsApi(self._limits_of).routes()

    async def _limits_of(self, principal: Principal) -> CallerLimits:
        """Raises `StoreUnavailable`."""
        rate_limits, budgets = find(RateLimits, self.plugins), find(Budgets, self.plugins)
        assert rate_limits is not None, "they have their place in every gateway"
        assert budgets is not None, "they have their place in every gateway"
        return await read_caller_limits(principal, rate_limits, budgets, self._names_for)

    def _names_for(self, principal: Principal, model: str) -> Sequence[str]:
        return names_for(principal, model, self._aliases, shadow=self.config.models_shadow)

    def _openapi(self) -> dict[str, Any]:
        from crplugins.homes.gateway.openapi import with_admin, with_usage  # sqlalchemy, needed only here
        from crplugins.schema import openapi_document  # pydantic's models of the schema, likewise

        root_path = self.config.server.root_path
        document = openapi_document(title="crplugins", version=__version__, server_url=root_path or None)
        if self.config.admin is not None:
            document = operations.with_operations(with_admin(document))
        document = with_limits(document, admin=self.config.admin is not None)
        if self.config.ledger is not None:
            document = with_usage(document, admin=self.config.admin is not None)
        return document


def create_app() -> Gateway:
    """The gateway a worker process serves: the file in `CRPLUGINS_CONFIG`, and what was made for the run."""
    path = find_config(None)
    config = parse_config({}) if path is None else load_config(path)
    os.environ.update(config.variables)
    run_key, limit_store = os.environ.get(RUN_KEY_VARIABLE), os.environ.get(LIMIT_STORE_VARIABLE)
    if run_key:
        config = config.with_run_key(run_key)
    if limit_store:
        config = config.with_limit_store(limit_store)
    return Gateway.from_config(config)


def _usage_routes(config: Config, ledger: "Ledger | None") -> list[Route]:
    if ledger is None:
        return []
    from crplugins.homes.gateway.usage_api import UsageApi

    return UsageApi(ledger, admin_tokens=config.admin.by_name if config.admin else None).routes()


def _public_paths(config: Config) -> tuple[str, ...]:
    """Paths that need no key. The admin API and the metrics have tokens of their own."""
    paths = [*PUBLIC_PATHS, *page.PUBLIC_PATHS, OPENAPI_PATH]
    if config.metrics is not None:
        paths.append(config.metrics.path)
    if config.admin is not None:
        paths += [*admin.PUBLIC_PATHS, *operations.PUBLIC_PATHS, ADMIN_USAGE_PATH, caller_limits.ADMIN_PATH]
    return tuple(paths)
