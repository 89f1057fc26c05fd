"""Opens what plugins own when the app starts and closes it when the app stops (ASGI lifespan protocol)."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crplugins.core.plugin import Plugin


class PluginLifespan:
    """The open plugins of one PluginMiddleware.

    Where the host never sends lifespan events (a mounted app, Django), they are opened before the first request, in a
    task of their own, and stay open until the event loop ends.
    """

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = [p for p in plugins if type(p).__aenter__ is not Plugin.__aenter__]
        self._keeper: asyncio.Task[None] | None = None
        self.open = not self._plugins

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the lifespan scope: plugins open before the app starts and close after it has stopped."""
        startup = await receive()
        stack = AsyncExitStack()
        try:
            for plugin in self._plugins:
                await stack.enter_async_context(plugin)
        except Exception as error:
            await stack.aclose()
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            return
        self.open = True
        await _AppLifespan(app, startup, stack, scope, receive, send).run()

    async def ensure_open(self) -> None:
        """Open the plugins now if no lifespan event has."""
        if self._keeper is None:
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.create_task(self._keep(ready))
            self._ready = ready
        await asyncio.shield(self._ready)

    async def _keep(self, ready: "asyncio.Future[None]") -> None:
        async with AsyncExitStack() as stack:
            try:
                for plugin in self._plugins:
                    await stack.enter_async_context(plugin)
            except Exception as error:
                self._keeper = None  # the next request tries again
                ready.set_exception(error)
                return
            self.open = True
            ready.set_result(None)
            await asyncio.get_running_loop().create_future()  # until the loop ends and cancels this task


class _AppLifespan:
    """Relays the lifespan conversation to the app, and holds it alone if the app has none."""

    def __init__(
        self, app: ASGIApp, startup: Message, stack: AsyncExitStack, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._app, self._scope = app, scope
        self._startup: Message | None = startup
        self._stack, self._outer_receive, self._outer_send = stack, receive, send
        self._answered = False

    async def run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception:
            if self._answered:
                await self._stack.aclose()
                raise
        if not self._answered:  # the app does not speak lifespan, which the protocol allows
            await self._outer_send({"type": "lifespan.startup.complete"})
            await self._outer_receive()
            await self._stack.aclose()
            await self._outer_send({"type": "lifespan.shutdown.complete"})

    async def _receive(self) -> Message:
        if self._startup is not None:
            startup, self._startup = self._startup, None
            return startup
        return await self._outer_receive()

    async def _send(self, message: Message) -> None:
        self._answered = True
        if message["type"] in ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await self._stack.aclose()
        await self._outer_send(message)
