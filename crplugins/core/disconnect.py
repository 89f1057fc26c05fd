"""Cancels the work for a client as soon as the client has gone."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive


class CancelOnDisconnect:
    """`async with CancelOnDisconnect(receive):` cancels its body when an `http.disconnect` arrives.

    The request's body must have been read. `gone` says afterwards whether that happened; the cancellation itself ends
    at the block. A model that goes on generating for nobody costs money until it stops by itself.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.gone = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._watcher.cancel()
        ours = self.gone and self._task.uncancel() <= self._cancelling
        return ours and kind is asyncio.CancelledError

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._task.cancel()
