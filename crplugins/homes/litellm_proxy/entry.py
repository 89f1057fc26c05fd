"""The proxy's app inside our boundary: what no callback can do."""

import re
from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.asgi.scope import find_exchange
from crplugins.core.dialects import ALL, CHAT
from crplugins.core.exchange import Exchange
from crplugins.core.paths import CHAT_PATH, model_paths
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.core.wire import AnswerFacts
from crplugins.homes.gateway.web import Readiness, Web
from crplugins.homes.litellm_proxy.names import served_names
from crplugins.homes.litellm_proxy.requests import REQUEST_ID
from crplugins.homes.litellm_proxy.runtime import ANSWERED_BY, AROUND, Runtime, entry_runtime
from crplugins.plugins.aliases.access import has_model, visible_models

if TYPE_CHECKING:
    from collections.abc import Callable

PROBES: Final = ("/health/liveness", "/health/liveliness", "/health/readiness")
"""LiteLLM's own, which need no key."""

_NAMED: Final = re.compile(r"/(?:engines|openai/deployments)/(?P<model>.+)/chat/completions")


def proxy_app() -> ASGIApp:
    """LiteLLM's proxy with our plugins around it. Imports the proxy: six seconds."""
    runtime = entry_runtime()
    from litellm.proxy.proxy_server import app

    from crplugins.homes.litellm_proxy import callback

    return ProxyEntry(app, runtime, callback.start)


class ModelNames(Plugin):
    """Puts the model of Azure's paths where plugins look for it, and where LiteLLM then finds it too; and in the end
    the one that has answered where LiteLLM has put the requested name."""

    reads_body = True

    def on_request(self, exchange: Exchange) -> None:
        named = _NAMED.search(exchange.path)
        if named is not None and exchange.body is not None:
            exchange.body.set("model", named["model"])
            exchange.requested_model = named["model"]

    def on_finish(self, exchange: Exchange) -> None:
        if (model := ANSWERED_BY.get(exchange)) is not None:
            exchange.note_provider(AnswerFacts(model))


class ProxyEntry:
    """An ASGI app.

    Args:
        proxy: LiteLLM's.
        runtime: with `guarded`, all plugins run here; else the body is limited here, and the hooks do the rest.
        start: called when the server starts.
    """

    def __init__(self, proxy: ASGIApp, runtime: Runtime, start: "Callable[[], None]") -> None:
        self._proxy = proxy
        self._start = start
        self._runtime = runtime
        self._web = Web(
            self._names, lambda: Readiness("ok"), dict, model_paths=model_paths(ALL), has_model=self._has_model
        )
        self._models = [
            Route(prefix + path, endpoint, methods=["GET"])
            for prefix in ("/v1", "")
            for path, endpoint in (("/models", self._web.models), ("/models/{model:path}", self._web.model))
        ]
        self._small = self._web.app()
        self._app = PluginMiddleware(
            self._dispatch,
            plugins=runtime.plugins if runtime.guarded else (),
            dialects=(CHAT,),
            max_body_bytes=runtime.config.server.max_body_bytes,
            find_uncovered=False,  # the hooks see LiteLLM's other APIs
        )
        self._page = runtime.metrics_app(self._app.faults) if runtime.guarded else None
        self._page_path = runtime.config.metrics.path if runtime.config.metrics is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._start()
        app = self._proxy if scope["type"] == "http" and scope["path"] in PROBES else self._app
        await app(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._runtime.guarded and (own := self._own(scope)) is not None:
            await own(scope, receive, send)
            return
        await self._call_proxy(scope, receive, send)

    def _own(self, scope: Scope) -> ASGIApp | None:
        """What we answer in LiteLLM's place."""
        if self._page is not None and scope["path"] == self._page_path:
            return self._page
        if any(route.matches(scope)[0] is Match.FULL for route in self._models):
            return self._small
        return None

    async def _call_proxy(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = find_exchange(scope)
        if exchange is None:
            await self._proxy(scope, receive, send)
            return
        if not self._runtime.guarded or not exchange.asks_model:
            REQUEST_ID.set(exchange.id)  # the hooks run the plugins: only LiteLLM knows what other APIs use
            await self._proxy(scope, receive, send)
            return
        token = AROUND.set(exchange)
        try:
            # One path for all: in another, and in the query, LiteLLM would find a model that nobody has judged.
            await self._proxy(_plain_path(scope), receive, send)
        finally:
            AROUND.reset(token)

    def _names(self, principal: Principal | None) -> list[str]:
        config, table = self._runtime.config, self._runtime.aliases.table
        return visible_models(principal, table, served_names(config), shadow=config.models_shadow)

    def _has_model(self, principal: Principal | None, name: str) -> bool:
        config, table = self._runtime.config, self._runtime.aliases.table
        return has_model(name, principal, table, served_names(config), shadow=config.models_shadow)


def _plain_path(scope: Scope) -> dict[str, Any]:
    path = scope.get("root_path", "") + "/v1" + CHAT_PATH
    return {**scope, "path": path, "raw_path": path.encode(), "query_string": b""}
