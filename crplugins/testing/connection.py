"""One accepted connection of the fake provider: requests one after the other, and how it can be ended."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

from crplugins.testing.http1 import BadRequestError, HttpRequest, RequestParser, response_head

logger = logging.getLogger(__name__)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a time of 0: close() sends RST and drops unsent bytes


class Connection(asyncio.Protocol):
    """Parses requests and runs `serve` for each, never two at once.

    A protocol rather than a stream pair, because the end of the client's side must be seen at once while the server
    is sleeping or stalling: the running `serve` is then cancelled, with `client_gone` set.
    """

    def __init__(self, serve: Callable[[Connection, HttpRequest], Awaitable[None]], open_ones: set[Connection]) -> None:
        self.client_gone = False
        self.task: asyncio.Task[None] | None = None
        self._serve = serve
        self._open_ones = open_ones
        self._parser = RequestParser()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a class of its own under uvloop
        self._open_ones.add(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        if self.task is None:
            self._start_next()

    def eof_received(self) -> bool:
        # A client that shuts down its sending side counts as gone, as it does for uvicorn and hypercorn.
        self._client_left()
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        self._client_left()
        self._writable.set()
        self._open_ones.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def send(self, data: bytes) -> None:
        """One write; returns once the client has taken enough of it, and gives other tasks a turn."""
        self._transport.write(data)
        await asyncio.sleep(0)
        await self._writable.wait()

    def close(self) -> None:
        """End with FIN, once everything written is out."""
        self._ending = True
        self._transport.close()

    def reset(self) -> None:
        """End with RST, at once."""
        self._ending = True
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def abandon(self) -> None:
        """Stop whatever runs and drop the connection (the provider shuts down)."""
        self._ending = True
        if self.task is not None:
            self.task.cancel()
        self._transport.abort()

    def _start_next(self) -> None:
        try:
            request = self._parser.next_request()
        except BadRequestError:
            self._transport.write(response_head(400, [("content-length", "0"), ("connection", "close")]))
            self.close()
            return
        if request is not None:
            self.task = asyncio.ensure_future(self._serve(self, request))
            self.task.add_done_callback(self._served)
        elif self._parser.wants_continue:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _served(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the fake provider failed to answer", exc_info=error)
            self.reset()
        if not self._ending:
            self._start_next()

    def _client_left(self) -> None:
        if self._ending:
            return
        self._ending = self.client_gone = True
        if self.task is not None:
            self.task.cancel()
