"""Middleware: all that a configuration file says, in front of vLLM's own server.

    CRPLUGINS_CONFIG=gateway.yaml vllm serve MODEL --middleware crplugins.homes.vllm.Middleware

Of the file it takes everything but what only a gateway has: addresses of models, the port, the admin API. `model_list`
is not needed, because names pass to vLLM as they are; if it is there, it says what models cost and which names the
metrics know.
"""

import logging
import os
from collections.abc import Iterator
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.config import Config, ConfigError, arrange_plugins
from crplugins.core.errors import internal_error
from crplugins.core.plugin import Plugin
from crplugins.homes.builtin import builtin_plugins, make_metrics, open_ledger
from crplugins.homes.metrics_page import MetricsPage
from crplugins.homes.middlewares_order import layers_inside
from crplugins.homes.middlewares_parts import alias_names
from crplugins.homes.price_list import PriceList
from crplugins.homes.vllm_config import METRICS_PATH, model_names, read_config
from crplugins.homes.vllm_endpoints import UnmeteredPaths, meters_everybody
from crplugins.keys.opening import open_source
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.auth import PUBLIC_PATHS, Auth
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.plugins.metrics.plugin import Metrics
from crplugins.plugins.usage import Usage

OPEN_PATHS: Final = (*PUBLIC_PATHS, "/ping", "/metrics", "/metrics/*")
"""What orchestrators and Prometheus ask vLLM for. Everything else needs a key, where there are keys."""

logger = logging.getLogger("crplugins.vllm")


class Middleware(PluginMiddleware):
    """Called with the app alone, as vLLM does. Reads the file that `CRPLUGINS_CONFIG` names.

    With a file that cannot be used the server does not start: it is told so in the words of the lifespan protocol,
    because an exception here would be taken for an app that does not know that protocol.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._mistake: str | None = None
        try:
            config = read_config(os.environ)
            super().__init__(app, plugins=_plugins(config), max_body_bytes=config.server.max_body_bytes)
        except ConfigError as error:
            self._mistake = str(error)
            logger.error("%s", error)
            super().__init__(app)
        self._watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._mistake is not None:
            await _refuse(self._mistake, scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)  # a browser asks vLLM's CORS before it sends a key
        elif scope["type"] == "websocket" and any(isinstance(plugin, Auth) for plugin in self.plugins):
            await send({"type": "websocket.close", "code": 1008})  # plugins see HTTP only: nobody has looked at a key
        else:
            await super().__call__(scope, receive, send)

    def _watch(self) -> None:
        if any(isinstance(plugin, Auth) for plugin in self.plugins) and _asks_for_a_key(self.app):
            logger.warning("vLLM's own --api-key is set too: of the keys let in here it refuses all but that one")
        for page in self.plugins:
            if isinstance(page, MetricsPage):
                page.watch(self.plugins, self.faults)
                if _serves(self.app, page.path):
                    logger.warning(
                        "metrics.path is %s and hides vLLM's own metrics; %s would not", page.path, METRICS_PATH
                    )


def _plugins(config: Config) -> list[Plugin]:
    """The gateway's plugins, without those that nothing in the file asks for."""
    aliases = ModelAliases(
        aliases=config.aliases,
        teams=config.team_aliases,
        response_model=config.response_model,
        hidden_status=config.hidden_model_status,
    )
    keys, prices, ledger = open_source(config.keys), PriceList(config.deployments()), open_ledger(config)
    metrics = make_metrics(config, [*model_names(config), *alias_names(aliases.table)], None)
    builtin = builtin_plugins(config, keys=keys, aliases=aliases, ledger=ledger, metrics=metrics, prices=prices)
    here: dict[type[Plugin], Plugin] = {
        Auth: Auth(keys, public_paths=OPEN_PATHS),
        Usage: Usage(ledger, metadata=config.usage.metadata, prices=prices),
    }
    plugins = arrange_plugins(config, [here.get(type(plugin), plugin) for plugin in _asked_for(config, builtin)])
    return [prices, *plugins] if metrics is None else [_page(config, metrics), prices, *plugins]


def _asked_for(config: Config, plugins: Iterator[Plugin]) -> Iterator[Plugin]:
    """Without `keys` vLLM's own may do, and without `guard` it checks requests itself: it takes more than OpenAI."""
    optional: dict[type[Plugin], str] = {Auth: "keys", RequestGuard: "guard"}
    left_out = {kind for kind, key in optional.items() if key not in config.model_fields_set}
    for plugin in plugins:
        if type(plugin) not in left_out:
            yield plugin
        if isinstance(plugin, Auth):
            yield UnmeteredPaths(always=meters_everybody(config), paths=(*OPEN_PATHS, *config.server.unmetered_paths))


def _page(config: Config, metrics: Metrics) -> MetricsPage:
    assert config.metrics is not None, "there are metrics"
    return MetricsPage(metrics, path=config.metrics.path, token=config.metrics.secret)


def _asks_for_a_key(app: ASGIApp) -> bool:
    """Whether vLLM's AuthenticationMiddleware stands further in."""
    return any(hasattr(layer, "api_tokens") for layer in layers_inside(app))


def _serves(app: ASGIApp, path: str) -> bool:
    """Whether an app of Starlette's kind has a route of this path."""
    routes = [route for layer in layers_inside(app) for route in getattr(layer, "routes", ())]
    return any(getattr(route, "path", None) == path for route in routes)


async def _refuse(mistake: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": mistake})
    elif scope["type"] == "http":
        error = internal_error()
        await send({"type": "http.response.start", "status": error.status, "headers": error.response_headers()})
        await send({"type": "http.response.body", "body": error.body()})
