"""PluginMiddleware: the one place where plugins meet ASGI."""

import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.incoming import Call
from crplugins.asgi.lifespan import NotOpen, PluginLifespan, Resource
from crplugins.asgi.outgoing import Outgoing
from crplugins.asgi.scope import SCOPE_KEY, find_exchange, make_exchange
from crplugins.core.body import DEFAULT_MAX_BODY_BYTES
from crplugins.core.exchange import new_request_id
from crplugins.core.pipeline import Faults, Pipeline, Run
from crplugins.core.plugin import Plugin
from crplugins.core.wire import is_chat_completion


class PluginMiddleware:
    """Runs plugins in front of any ASGI app.

        app.add_middleware(PluginMiddleware, plugins=[Auth(...), Metering()])

    Neighbouring PluginMiddlewares with the same options become one when they are constructed, so that three of them
    parse once; `app` is then the innermost app and `plugins` all plugins, outermost first. With a foreign middleware in
    between, two boundaries share the Exchange and, if the body is the same object, its parse.

    Args:
        app: the ASGI app inside.
        plugins: outermost first; the request meets them in this order, the response in reverse.
        resources: what plugins or the app stand on. Opened before the plugins when the app starts, closed after them.
        max_body_bytes: a larger request body is refused with 413, wherever a plugin reads it and on chat paths always.
            10 MiB if there are plugins and nothing is said.
        clock: monotonic seconds.
        new_id: makes the id of a request, which is returned as `x-request-id`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        plugins: Sequence[Plugin] = (),
        resources: Sequence[Resource] = (),
        max_body_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_request_id,
    ) -> None:
        self.app = app
        if isinstance(plugins, Plugin):
            raise TypeError(f"plugins is a list: plugins=[{plugins.name}(...)]")
        self.plugins = tuple(plugins)
        self.resources = tuple(resources)
        limit = DEFAULT_MAX_BODY_BYTES if max_body_bytes is None else max_body_bytes
        self._options = (limit, clock, new_id)
        self._fuse()
        self.faults: Faults = Counter()
        self._max_body_bytes, self._clock, self._new_id = self._options
        self._chat = Pipeline(self.plugins, self.faults, self._max_body_bytes)
        everywhere = [p for p in self.plugins if not p.chat_only]
        reads_body = any(p.reads_body for p in everywhere)
        self._other = Pipeline(everywhere, self.faults, self._max_body_bytes if reads_body else sys.maxsize)
        self._closed = Pipeline([NotOpen()], self.faults, self._max_body_bytes)
        # Who asks for a limit, or has something opened, has it for chat completions without plugins too.
        self._alone = max_body_bytes is not None or bool(self.resources)
        self._lifespan = PluginLifespan(self.plugins, self.resources)

    def _fuse(self) -> None:
        inner = self.app
        if not isinstance(inner, PluginMiddleware) or type(inner).__call__ is not PluginMiddleware.__call__:
            return
        if inner._options == self._options:
            self.app = inner.app
            self.plugins += inner.plugins
            self.resources += inner.resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            pipeline = self._chat if is_chat_completion(scope["method"], scope["path"]) else self._other
            if pipeline.steps or (self._alone and pipeline is self._chat):
                if not self._lifespan.open and not await self._lifespan.opened():
                    pipeline = self._closed
                await self._run(pipeline, scope, receive, send)
                return
        if scope["type"] == "lifespan":
            await self._lifespan.run(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _run(self, pipeline: Pipeline, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request, on an Exchange of its own or on that of a boundary further out."""
        exchange = find_exchange(scope)
        outermost = exchange is None
        if exchange is None:
            exchange = make_exchange(scope, self._clock, self._new_id)
            scope[SCOPE_KEY] = exchange  # in place: a copy would hide what the app writes into the scope
        run = Run(pipeline, exchange)
        outgoing = Outgoing(run, send, outermost=outermost)
        return Call(self.app, run, outgoing, scope, receive).run()

    def __repr__(self) -> str:
        return f"PluginMiddleware({self.app!r}, plugins=[{', '.join(p.name for p in self.plugins)}])"
