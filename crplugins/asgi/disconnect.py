"""CancelOnDisconnect: ends the work for a client that has disconnected."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from starlette.types import Receive

from crplugins.core.errors import GatewayError

WATCH_AFTER_SECONDS: Final = 0.05
"""Work that takes no longer is not watched: a task for each request costs more than what it could save by then."""


class CancelOnDisconnect:
    """`with CancelOnDisconnect(receive):` cancels its body when an `http.disconnect` arrives.

    The request's body must have been read. `gone` says afterwards whether that happened; the cancellation itself ends
    at the block. A model that goes on generating for nobody costs money until it stops by itself.
    """

    __slots__ = ("_cancelling", "_receive", "_task", "_timer", "_watcher", "gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # until the watcher begins
        self.gone = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is None:
            return False
        self._watcher.cancel()
        self._watcher = None  # its exception holds this object: only the garbage collector would find the two
        ours = self.gone and self._task.uncancel() <= self._cancelling
        return ours and kind is asyncio.CancelledError

    def _begin(self) -> None:
        self._timer, self._watcher = None, asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        left = False
        while not left:
            with suppress(GatewayError):  # a body past its limit, which nobody here reads
                left = (await self._receive())["type"] == "http.disconnect"
        self.gone = True
        self._task.cancel()
