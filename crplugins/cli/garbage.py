"""Keeps Python's garbage collector away from what lives as long as the process.

With litellm loaded there are a million objects; a full collection looks at each, for half a second, in which no stream
moves. What is there when the start-up is over stays to the end, and need never be looked at again.
"""

import gc

from starlette.types import ASGIApp, Message, Receive, Scope, Send


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
