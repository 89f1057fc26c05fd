"""Parts of a connection that uvicorn makes for each, in a form that takes less memory while nothing needs them.

An `asyncio.Event` and a `deque` take 800 bytes each, of which most connections use nothing.
"""

import asyncio
from typing import TypeVar

from uvicorn.protocols.http.flow_control import FlowControl

T = TypeVar("T")


class Flow(FlowControl):
    """uvicorn's, with an event only where a client has been slow."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = self.write_paused = False

    async def drain(self) -> None:
        if self.write_paused:
            await self._is_writable_event.wait()

    def pause_writing(self) -> None:
        if not self.write_paused:
            self.write_paused = True
            self._is_writable_event = asyncio.Event()

    def resume_writing(self) -> None:
        if self.write_paused:
            self.write_paused = False
            self._is_writable_event.set()


class Pipelined(list[T]):
    """The requests of a connection that wait for earlier ones, the first of them last. There are few."""

    __slots__ = ()

    def appendleft(self, request: T) -> None:
        self.insert(0, request)
