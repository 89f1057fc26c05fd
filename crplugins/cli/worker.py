"""What each process of `crplugins serve --workers N` runs."""

import atexit
import gc
from contextlib import ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crplugins.cli.logs import logging_to_stderr
from crplugins.homes.gateway.app import create_app as create_gateway

# Keeps Python's garbage collector away from what lives as long as the process.
#
# With litellm loaded there are a million objects; a full collection looks at each, for half a second, in which no
# stream moves. What is there when the start-up is over stays to the end, and need never be looked at again.


class FrozenAfterStartup:
    """The app, whose objects are put out of the collector's sight when it reports that it has started."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_and_freeze(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                gc.collect()
                gc.freeze()
            await send(message)

        await self._app(scope, receive, send_and_freeze)


def create_app() -> ASGIApp:
    """The gateway, with its logs going to stderr until the process ends."""
    gateway = create_gateway()
    stack = ExitStack()
    stack.enter_context(logging_to_stderr(gateway.config))
    atexit.register(stack.close)
    return FrozenAfterStartup(gateway)
