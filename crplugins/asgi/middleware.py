"""PluginMiddleware: the one place where plugins meet ASGI."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.incoming import Call
from crplugins.asgi.lifespan import NotOpen, PluginLifespan, Resource
from crplugins.asgi.other_paths import Misspelt, Uncovered
from crplugins.asgi.scope import OUTSIDE_KEY, SCOPE_KEY, find_exchange, kind_of, make_exchange
from crplugins.asgi.websockets import WebSocketDoor, close
from crplugins.core.body import DEFAULT_MAX_BODY_BYTES
from crplugins.core.dialects import ALL, RESPONSES, Dialect
from crplugins.core.exchange import Exchange, new_request_id
from crplugins.core.paths import ModelPaths, PathKind
from crplugins.core.pipeline import Faults, Pipeline, Run
from crplugins.core.plugin import Plugin

logger = logging.getLogger("crplugins.plugins")


class PluginMiddleware:
    """Runs plugins in front of any ASGI app.

        app.add_middleware(PluginMiddleware, plugins=[Auth(...), Metering()])

    Neighbouring PluginMiddlewares with the same options become one when they are constructed, so that three of them
    parse once; `app` is then the innermost app and `plugins` all plugins, outermost first. With a foreign middleware in
    between, two boundaries share the Exchange and, if the body is the same object, its parse.

    Which requests ask a model, and in which dialect, says `core/paths.py`. A request that a router could take for one
    of them and that is none exactly is refused, and never reaches the app. Other paths pass, except to plugins that
    want them all. A WebSocket is opened only by whom the plugins that want them all let in.

    Args:
        app: the ASGI app inside.
        plugins: outermost first; the request meets them in this order, the response in reverse.
        paths: further paths of chat completions, as the app knows them: `/ask`, `/tenants/{tenant}/ask`; or each path
            with the name of its dialect: `{"/ask": "responses"}`. Of neighbours each has those of all.
        dialects: the protocols, or their names, in which a request asks a model; one in another is any other request.
        resources: what plugins or the app stand on. Opened before the plugins when the app starts, closed after them.
        max_body_bytes: a larger request body is refused with 413, wherever a plugin reads it and on chat paths always.
            10 MiB if there are plugins and nothing is said.
        clock: monotonic seconds.
        new_id: makes the id of a request, which is returned as `x-request-id`.
        find_uncovered: log once of a route that it asks a model and is not covered. False where the app has none.
        opening: what to open and close for a plugin that owns something; by default the plugin.
        faults: where it is counted how often a hook failed; None for a counter of its own.

    Raises ValueError for a path that no route can have, or a dialect that does not exist.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        plugins: Sequence[Plugin] = (),
        paths: Iterable[str] | Mapping[str, str] = (),
        dialects: Iterable[Dialect | str] = ALL,
        resources: Sequence[Resource] = (),
        max_body_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_request_id,
        find_uncovered: bool = True,
        opening: Callable[[Plugin], Resource] = lambda plugin: plugin,
        faults: Faults | None = None,
    ) -> None:
        self.app = app
        if isinstance(plugins, Plugin):
            raise TypeError(f"plugins is a list: plugins=[{plugins.name}(...)]")
        self.plugins = tuple(plugins)
        self.paths = ModelPaths(paths).named
        self.resources = tuple(resources)
        limit = DEFAULT_MAX_BODY_BYTES if max_body_bytes is None else max_body_bytes
        self._options = (limit, clock, new_id, tuple(dialects))
        self._fuse()
        self.faults: Faults = Counter() if faults is None else faults
        self._max_body_bytes, self._clock, self._new_id, self._dialects = self._options
        keeps = any(isinstance(plugin, Plugin) and plugin.stored_answers for plugin in self.plugins)
        self._kinds = ModelPaths(self.paths, self._dialects, stored=keeps)
        self._closed = Pipeline([NotOpen()], self.faults, self._max_body_bytes)
        # Who asks for a limit, or has something opened, has it for requests that ask a model without plugins too.
        guards = bool(self.plugins) or max_body_bytes is not None or bool(self.resources)
        self._pipelines = self._guarding() if guards else {}
        missed = [p.name for p in self.plugins if not p.every_path]
        self._uncovered = Uncovered(missed) if missed and find_uncovered else None
        door = [plugin for plugin in self.plugins if isinstance(plugin, Plugin) and plugin.every_websocket]
        self._door = WebSocketDoor(door, self._clock, self._new_id) if door else None
        self._lifespan = PluginLifespan(self.plugins, self.resources, opening)

    def _fuse(self) -> None:
        inner = self.app
        if not isinstance(inner, PluginMiddleware) or type(inner).__call__ is not PluginMiddleware.__call__:
            return
        if inner._options == self._options:
            self.app = inner.app
            self.plugins += inner.plugins
            self.paths = {**self.paths, **inner.paths}
            self.resources += inner.resources

    def _guarding(self) -> "Mapping[PathKind, Pipeline]":
        """The plugins that each kind of request meets; a kind that is not here passes untouched."""
        every = Pipeline(self.plugins, self.faults, self._max_body_bytes)  # first: it refuses what is no plugin
        everywhere, limit = [p for p in self.plugins if p.every_path], self._max_body_bytes
        reads_body = any(p.reads_body for p in everywhere)
        pipelines: dict[PathKind, Pipeline] = {
            **{dialect: self._speaking(dialect, every) for dialect in ALL},
            "stored": Pipeline([p for p in self.plugins if p.every_path or p.stored_answers], self.faults, limit),
            # A view for any method would answer a GET with a body as it does a POST.
            "page": Pipeline(everywhere, self.faults, 0),
            "method": Pipeline([*everywhere, Misspelt("method")], self.faults, self._max_body_bytes),
            "nearly": Pipeline([*everywhere, Misspelt("nearly")], self.faults, self._max_body_bytes),
        }
        if everywhere:
            pipelines["other"] = Pipeline(everywhere, self.faults, self._max_body_bytes if reads_body else sys.maxsize)
        return pipelines

    def _speaking(self, dialect: Dialect, every: Pipeline) -> Pipeline:
        """The plugins that understand the dialect."""
        plugins = [p for p in self.plugins if p.dialects is None or dialect.name in p.dialects]
        return every if len(plugins) == len(self.plugins) else Pipeline(plugins, self.faults, self._max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.handle(scope, receive, send)

    def handle(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The same for who awaits it at once: one coroutine less stands in the way of each piece of a stream."""
        if scope["type"] == "http":
            kind = kind_of(scope, self._kinds, scope["method"])
            pipeline = self._pipelines.get(kind)
            if kind == "other" and self._uncovered is not None and scope["method"] == "POST":
                receive = self._uncovered.watch(scope, receive)
            if pipeline is not None:
                if self._lifespan.open:
                    return self._run(pipeline, kind, scope, receive, send)
                return self._open_and_run(pipeline, kind, scope, receive, send)
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        if scope["type"] == "websocket" and self._pipelines:
            if kind_of(scope, self._kinds, "POST") != "other":
                return close(send)  # a conversation that no plugin would see
            if self._door is not None:
                return self._open_websocket(self._door, scope, receive, send)
        return self.app(scope, receive, send)

    async def open(self) -> None:
        """Open plugins and resources, for a host of ours that sends no lifespan events. Raises what they raise."""
        await self._lifespan.start()

    async def close(self) -> Exception | None:
        """Close what `open`, or the first request, has opened. What went wrong with it."""
        return await self._lifespan.close()

    def drain(self) -> None:
        """The process ends as soon as what runs has ended: no plugin lets anything more begin or wait."""
        for plugin in self.plugins:
            try:
                plugin.on_drain()
            except Exception as error:
                self.faults[plugin.name, "on_drain"] += 1
                logger.error("%s.on_drain failed", plugin.name, exc_info=error)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """From start to stop, as far as the host tells it."""
        try:
            self._check(scope)
        except ValueError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        scope[OUTSIDE_KEY] = (*scope.get(OUTSIDE_KEY, ()), *self.plugins)
        await self._lifespan.run(self.app, scope, receive, send)

    async def _open_and_run(
        self, pipeline: Pipeline, kind: PathKind, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """The first request of a host that has told of no start opens the plugins."""
        self._check(scope)
        opened = await self._lifespan.opened()
        await self._run(pipeline if opened else self._closed, kind, scope, receive, send)

    async def _open_websocket(self, door: WebSocketDoor, scope: Scope, receive: Receive, send: Send) -> None:
        if self._lifespan.open or await self._lifespan.opened():
            await door.enter(self.app, scope, receive, send)
        else:
            await close(send)

    def _check(self, scope: Scope) -> None:
        """Raise `ValueError` where the plugins need others outside: in the first scope that reaches them."""

    def _run(self, pipeline: Pipeline, kind: PathKind, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request, on an Exchange of its own or on that of a boundary further out."""
        exchange = find_exchange(scope)
        if exchange is None:
            exchange = make_exchange(scope, self._clock, self._new_id, kind if isinstance(kind, Dialect) else None)
            if kind == "stored":
                exchange.dialect = RESPONSES
            exchange.boundaries = (self,)
            scope[SCOPE_KEY] = exchange  # in place: a copy would hide what the app writes into the scope
            return Call(self.app, Run(pipeline, exchange), scope, receive, send, outermost=True).run()
        if self in exchange.boundaries:  # an app that sends it through once more, or a layer that sends it twice
            return self._run(pipeline, kind, {**scope, SCOPE_KEY: None}, receive, send)
        if isinstance(kind, Dialect):  # a boundary further out has not known this path, or it was another there
            exchange.asks_model, exchange.dialect = True, kind
        call = Call(self.app, Run(pipeline, exchange), scope, receive, send, outermost=False)
        return self._run_inside(exchange, call)

    async def _run_inside(self, exchange: Exchange, call: Call) -> None:
        """Between a boundary further out and the app."""
        exchange.boundaries = (*exchange.boundaries, self)
        try:
            await call.run()
        finally:
            exchange.boundaries = tuple(each for each in exchange.boundaries if each is not self)

    def __repr__(self) -> str:
        return f"PluginMiddleware({self.app!r}, plugins=[{', '.join(p.name for p in self.plugins)}])"
