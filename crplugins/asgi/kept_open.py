"""KeptOpen: somebody's resource, opened and closed by one task."""

import asyncio

from crplugins.asgi.lifespan import Resource
from crplugins.core.shared import Shared


class KeptOpen(Shared):
    """A plugin of the user's own, which several configurations have one after the other.

    The task that opens it also closes it, as whatever uses a task group of anyio requires.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(opened))
        await opened

    async def close(self) -> None:
        assert self._keeper is not None, "it was opened"
        self._closing.set()
        await self._keeper

    async def _keep(self, opened: "asyncio.Future[None]") -> None:
        try:
            async with self._resource:
                opened.set_result(None)
                await self._closing.wait()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)
