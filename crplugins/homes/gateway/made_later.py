"""MadeLater: an app inside the gateway that no model is asked by, made when its first request comes.

What it is made with, Starlette's routes and answers, takes 20 ms of a start and 2 MB.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send


class MadeLater:
    """`make` is called once, in a thread: what imports and reads files there delays no stream."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make: Final = make
        self._making: Final = asyncio.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            async with self._making:
                await self._make_once()
        assert self._app is not None, "it is made"
        await self._app(scope, receive, send)

    async def _make_once(self) -> None:
        if self._app is None:
            self._app = await asyncio.to_thread(self._make)
