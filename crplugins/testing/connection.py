"""One accepted connection of the fake provider: its requests one after the other, and how it can be ended."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

import h11

from crplugins.testing.received import HttpRequest

logger = logging.getLogger(__name__)
_MAX_HEAD = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a time of 0: close() sends RST and drops unsent bytes


class Connection(asyncio.Protocol):
    """Reads requests with h11 and runs `serve` for each, never two at once.

    Answers are framed by h11 too, up to a fault: it refuses to end a body that is not whole, so `close` and `reset` go
    past it.

    A protocol rather than a stream pair, because the end of the client's side must be seen at once while the server
    is sleeping or stalling: the running `serve` is then cancelled, with `client_gone` set.
    """

    def __init__(self, serve: Callable[[Connection, HttpRequest], Awaitable[None]], open_ones: set[Connection]) -> None:
        self.client_gone = False
        self.task: asyncio.Task[None] | None = None
        self._serve = serve
        self._open_ones = open_ones
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self._head = h11.Request(method="GET", target="/", headers=[("host", "")])
        self._body = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a class of its own under uvloop
        self._open_ones.add(self)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        if self.task is None and not self._ending:
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

    @property
    def wants_body(self) -> bool:
        """Whether the answer to this request has a body, unless its status forbids one."""
        return self._head.method != b"HEAD"

    def framed(self, event: h11.Event) -> bytes:
        """The bytes of the next part of the answer. LocalProtocolError if HTTP has no place for it."""
        return self._http.send(event) or b""

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
        if sock.fileno() >= 0:  # else the client was quicker
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
            request = self._next_request()
        except h11.RemoteProtocolError as error:
            refusal = h11.Response(status_code=error.error_status_hint, headers=[("content-length", "0")])
            self._transport.write(self.framed(refusal))
            self.close()
            return
        if request is not None:
            self.task = asyncio.ensure_future(self._serve(self, request))
            self.task.add_done_callback(self._served)
        elif self._http.they_are_waiting_for_100_continue:
            go_ahead = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            self._transport.write(self.framed(go_ahead))

    def _next_request(self) -> HttpRequest | None:
        """The next complete request, None if more bytes are needed. RemoteProtocolError if it can never become one."""
        while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                self._head, self._body = event, bytearray()
            elif isinstance(event, h11.Data):
                self._body += event.data
            else:
                return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._head.headers}
        method, target = self._head.method.decode(), self._head.target.decode("latin-1")
        return HttpRequest(method, target, headers, bytes(self._body))

    def _served(self, task: asyncio.Task[None]) -> None:
        self.task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the fake provider failed to answer", exc_info=error)
            self.reset()
        if self._ending:
            return
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
            self._start_next()
        else:
            self.close()

    def _client_left(self) -> None:
        if self._ending:
            return
        self._ending = self.client_gone = True
        if self.task is not None:
            self.task.cancel()
