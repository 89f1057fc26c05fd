"""Opens what plugins own when the app starts and closes it when the app stops (ASGI lifespan protocol)."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crplugins.core.collector import collect_when_quiet
from crplugins.core.errors import internal_error
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin

Resource = AbstractAsyncContextManager[Any]
"""What is opened with the app and closed with it: connections, handlers, tables of prices."""

logger = logging.getLogger("crplugins.plugins")


class PluginLifespan:
    """The open plugins of one PluginMiddleware, and the resources they stand on: opened first, closed last.

    Where the host never sends lifespan events (a mounted app, Django), they are opened before the first request, in a
    task of their own, and stay open until the event loop ends.

    Args:
        opening: what to open and close for a plugin that owns something; by default the plugin.
    """

    def __init__(
        self,
        plugins: Sequence[Plugin],
        resources: Sequence[Resource] = (),
        opening: Callable[[Plugin], Resource] = lambda plugin: plugin,
    ) -> None:
        for resource in resources:
            if isinstance(resource, type) or not isinstance(resource, AbstractAsyncContextManager):
                raise TypeError(f"resources holds {resource!r}, which is no async context manager")
        self._owners: list[Resource] = [*resources, *(opening(p) for p in plugins if _owns_something(type(p)))]
        self._keeper: asyncio.Task[Exception | None] | None = None
        self._closing = asyncio.Event()
        self.open = not self._owners

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the lifespan scope: plugins open before the app starts and close after it has stopped."""
        startup = await receive()
        async with AsyncExitStack() as stack:
            try:
                await self._enter(stack)
            except Exception as error:
                await stack.aclose()
                await send({"type": "lifespan.startup.failed", "message": failure_message(error)})
                return
            await _AppLifespan(app, startup, stack, scope, receive, send).run()

    async def opened(self) -> bool:
        """Open the plugins now if no lifespan event has. False if one of them cannot be opened; the log says why."""
        begins = self._keeper is None
        try:
            await self.start()
        except Exception:
            if begins:
                logger.exception("plugins could not be opened")
            return False
        return True

    async def start(self) -> None:
        """The same for who wants to know why: raises what one of them raises. Does nothing if they are open."""
        if self._keeper is None:
            self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._closing = asyncio.Event()
            self._keeper = asyncio.create_task(self._keep(self._ready, self._closing))
        await asyncio.shield(self._ready)

    async def close(self) -> Exception | None:
        """Close what `start` has opened, for a host that ends before its event loop does. What went wrong with it."""
        if (keeper := self._keeper) is None:
            return None
        self._closing.set()
        await asyncio.wait([keeper])
        return None if keeper.cancelled() else keeper.result()

    async def _keep(self, ready: "asyncio.Future[None]", closing: asyncio.Event) -> Exception | None:
        """One task opens and closes them, as some of them require."""
        try:
            async with AsyncExitStack() as stack:
                await self._enter(stack)
                ready.set_result(None)
                await closing.wait()  # or until the loop ends and cancels this task
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)
                return None
            logger.exception("plugins could not be closed")
            return error
        return None

    async def _enter(self, stack: AsyncExitStack) -> None:
        stack.callback(self._closed)
        for owner in self._owners:
            await stack.enter_async_context(owner)
        self.open = True

    def _closed(self) -> None:
        self.open = not self._owners
        self._keeper = None  # the next request tries again


class NotOpen(Plugin):
    """Answers in the place of plugins that could not be opened."""

    def on_request(self, exchange: Exchange) -> None:
        del exchange
        raise internal_error()


class _AppLifespan:
    """Relays the lifespan conversation to the app, and holds it alone where the app does not."""

    def __init__(
        self, app: ASGIApp, startup: Message, stack: AsyncExitStack, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._app, self._scope = app, scope
        self._startup: Message | None = startup
        self._stack, self._outer_receive, self._outer_send = stack, receive, send
        self._started = self._stopping = self._over = False

    async def run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception:
            if self._started or self._over:
                raise
        if not self._started and not self._over:  # the app does not support lifespan, which the protocol allows
            await self._send({"type": "lifespan.startup.complete"})
        if not self._stopping and not self._over:
            await self._outer_receive()
        if not self._over:
            await self._send({"type": "lifespan.shutdown.complete"})

    async def _receive(self) -> Message:
        if self._startup is not None:
            startup, self._startup = self._startup, None
            return startup
        message = await self._outer_receive()
        self._stopping = True
        return message

    async def _send(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            self._started = True
        else:
            self._over = True
            message = await self._close(message)
        await self._outer_send(message)

    async def _close(self, message: Message) -> Message:
        """Close the plugins; the app's last word, or that a plugin could not be closed."""
        try:
            await self._stack.aclose()
        except Exception as error:
            logger.exception("plugins could not be closed")
            if message["type"] == "lifespan.shutdown.complete":
                return {"type": "lifespan.shutdown.failed", "message": failure_message(error)}
        return message


def _owns_something(kind: type[Plugin]) -> bool:
    return kind.__aenter__ is not Plugin.__aenter__ or kind.__aexit__ is not Plugin.__aexit__


def failure_message(error: Exception) -> str:
    """What a host is told of it."""
    return f"{type(error).__name__}: {error}"


class Serveable(Protocol):
    """The app of a server of ours."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def loaded(self) -> None:
        """Returns when it has also loaded what it loads after its start-up."""

    def drain(self) -> None:
        """The process ends as soon as what runs has ended."""


class FrozenAfterStartup:
    """The app, whose objects the garbage collector no longer looks at once it reports that it has started.

    With litellm loaded there are a million objects. A full collection looks at each of them, which takes half a second
    in which no stream moves. What is there when the start-up is over lives as long as the process: nothing is collected
    before, which would take a tenth of the start-up and find some two hundred objects. What open streams have is looked
    at when there are few of them.

    What it has loaded after its start-up is likewise looked at no longer.
    """

    def __init__(self, app: Serveable) -> None:
        self.app: Final = app
        self.drain: Final = app.drain
        self._collecting: asyncio.Task[None] | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """A plain function, which adds nothing to what each piece of a stream resumes."""
        return self.app(scope, receive, self._freezing_at_start(send) if scope["type"] == "lifespan" else send)

    def _freezing_at_start(self, send: Send) -> Send:
        async def send_and_freeze(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                gc.freeze()
                self._collecting = asyncio.create_task(self._collect())
            elif message["type"] == "lifespan.shutdown.complete" and self._collecting is not None:
                self._collecting.cancel()
            await send(message)

        return send_and_freeze

    async def _collect(self) -> None:
        await self.app.loaded()
        gc.freeze()
        await collect_when_quiet()
