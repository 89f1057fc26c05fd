"""Gateway: the plugins around the handlers, as one ASGI app.

client -> PluginMiddleware [those of builtin.py, your own] -> ChatCompletions -> direct | litellm
                                                           -> MetricsApp
                                                           -> Web: models, health, usage, openapi.json, admin
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins import __version__
from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import Config, Problem, arrange_plugins, find_config, load_config, parse_config
from crplugins.config.models import ModelEntry
from crplugins.core.principal import Principal
from crplugins.core.wire import CHAT_PATH
from crplugins.handlers.endpoint import ChatCompletions
from crplugins.homes.assembly import builtin_plugins, make_metrics, metrics_app, open_ledger
from crplugins.homes.gateway import admin
from crplugins.homes.gateway.admin import NoStore, store_of
from crplugins.homes.gateway.openapi import with_admin
from crplugins.homes.gateway.upstreams import Served, Upstreams
from crplugins.homes.gateway.web import Web
from crplugins.keys.opening import open_source
from crplugins.keys.service import KeyService
from crplugins.keys.source import KeySource
from crplugins.plugins.aliases.access import visible_models
from crplugins.plugins.aliases.plugin import ModelAliases

if TYPE_CHECKING:
    from crplugins.ledger.ledger import Ledger

RUN_KEY_VARIABLE: Final = "CRPLUGINS_RUN_KEY"
"""A key made for this run by `crplugins serve`, handed to its worker processes."""


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

    def __init__(
        self,
        *,
        model_list: Sequence[Mapping[str, Any]] | None = None,
        keys: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
        server: Mapping[str, Any] | None = None,
        guard: Mapping[str, Any] | None = None,
        aliases: Mapping[str, Any] | None = None,
        team_aliases: Mapping[str, Mapping[str, Any]] | None = None,
        response_model: Literal["requested", "served"] | None = None,
        hidden_model_status: Literal[404, 403] | None = None,
        admin: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        budgets: Mapping[str, Any] | None = None,
        on_disconnect: Literal["cancel", "drain"] | None = None,
        missing_usage: Literal["estimate", "refuse", "free"] | None = None,
        usage: Mapping[str, Any] | None = None,
        ledger: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        tracing: bool | None = None,
        plugins: Sequence[Any] | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
        self._assemble(parse_config(given))

    @classmethod
    def from_config(cls, config: Config) -> Self:
        gateway = cls.__new__(cls)
        gateway._assemble(config)
        return gateway

    def _assemble(self, config: Config) -> None:
        self.config = config
        self._upstreams = Upstreams([_served(entry) for entry in config.model_list])
        aliases = ModelAliases(
            aliases=config.aliases,
            teams=config.team_aliases,
            served=self._upstreams.served,
            response_model=config.response_model,
            hidden_status=config.hidden_model_status,
        )
        keys = open_source(config.keys)
        ledger = open_ledger(config)
        metrics = make_metrics(config, self._upstreams.served, ledger)
        builtin = builtin_plugins(
            config, keys=keys, aliases=aliases, ledger=ledger, metrics=metrics, prices=self._upstreams.price
        )
        self.plugins = [*arrange_plugins(config, list(builtin)), self._upstreams]
        self._chat = ChatCompletions(self._upstreams.find, keep_alive=config.server.stream_keep_alive_seconds)
        self._aliases = aliases.table
        web = Web(self._visible_models, lambda: self._upstreams.ready, self._openapi)
        self._web = web.app([*_admin_routes(config, keys), *_usage_routes(config, ledger)])
        self._app = PluginMiddleware(self._dispatch, plugins=self.plugins, max_body_bytes=config.server.max_body_bytes)
        if metrics is not None:
            metrics.observe_faults(self._app.faults)
        self._metrics = metrics_app(config, metrics, self.plugins)
        self._metrics_path = config.metrics.path if config.metrics is not None else None

    def resolve(self) -> None:
        """Decide which handler serves each model, before anything listens. Blocks: litellm may have to be imported.

        Raises `UpstreamUnknown`.
        """
        self._upstreams.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._target(scope)(scope, receive, send)

    def _target(self, scope: Scope) -> ASGIApp:
        if scope["type"] != "http":
            return self._web
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["method"] == "POST" and path in ("/v1" + CHAT_PATH, CHAT_PATH):
            return self._chat
        if self._metrics is not None and path == self._metrics_path:
            return self._metrics
        return self._web

    def _visible_models(self, principal: Principal | None) -> Sequence[str]:
        return visible_models(principal, self._aliases, self._upstreams.served)

    def _openapi(self) -> dict[str, Any]:
        from crplugins.schema import openapi_document  # pydantic's models of the schema, needed only here

        document = openapi_document(title="crplugins", version=__version__)
        if self.config.admin is not None:
            document = with_admin(document)
        if self.config.ledger is not None:
            from crplugins.homes.gateway.openapi import with_usage  # sqlalchemy

            document = with_usage(document, admin=self.config.admin is not None)
        return document


def create_app() -> Gateway:
    """The gateway a worker process serves: the file in `CRPLUGINS_CONFIG`, and the run's key if there is one."""
    path = find_config(None)
    config = parse_config({}) if path is None else load_config(path)
    run_key = os.environ.get(RUN_KEY_VARIABLE)
    return Gateway.from_config(config.with_run_key(run_key) if run_key else config)


def _admin_routes(config: Config, source: KeySource) -> list[Route]:
    """Raises `ConfigError` where the admin API is on and the keys cannot be changed."""
    if config.admin is None:
        return []
    try:
        service = KeyService(store_of(source))
    except NoStore as error:
        raise config.source.error([Problem(("admin",), str(error))]) from None
    return admin.AdminApi(service, config.admin.token.get_secret_value()).routes()


def _usage_routes(config: Config, ledger: "Ledger | None") -> list[Route]:
    if ledger is None:
        return []
    from crplugins.homes.gateway.usage_api import UsageApi

    return UsageApi(ledger, admin_token=config.admin.token.get_secret_value() if config.admin else None).routes()


def _served(entry: ModelEntry) -> Served:
    return Served(entry.deployment(), entry.handler)
