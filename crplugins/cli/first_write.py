"""FirstWrite: the head of an answer leaves in one write with what comes first of its body."""

import asyncio
import sys
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_JOINED: Final = 64 * 1024
"""Bytes up to which a piece of a body is copied, to leave in one write with the head."""


class FirstWrite:
    """Stands in for the transport of one of uvicorn's answers until its head has left.

    uvicorn writes the head and the body one after the other: two system calls and two packets, which cost as much as
    several plugins. So the head waits for what is written next, and no longer than until the loop's next step: where
    the body is not there yet, the client sees the head as soon as before.
    """

    __slots__ = ("_cycle", "_flushing", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None
        self._flushing: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._head = data
            self._flushing = asyncio.get_running_loop().call_soon(self._flush)
            if self._cycle.scope["method"] == "HEAD":  # nothing follows, and the next answer may be written at once
                self._flush()
        elif len(data) <= _JOINED:
            self._leave(self._head + data)
        else:
            self._leave(self._head)
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        """Nothing has followed the head yet."""
        if self._head is not None and not self._transport.is_closing():
            self._leave(self._head)

    def _leave(self, data: bytes) -> None:
        assert self._flushing is not None
        self._flushing.cancel()
        self._cycle.transport = self._transport
        self._transport.write(data)


class Unframed:
    """`send` of an answer over HTTP/1.0, which has no chunks (RFC 9112, 6.1): its end is that of the connection.

    uvicorn sends chunks to everybody, and a program of HTTP/1.0 takes what frames them for the answer.
    """

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    async def __call__(self, message: Any) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message.get("headers", ()) if name != b"transfer-encoding"]
            if all(name != b"content-length" for name, _ in headers):
                cycle.chunked_encoding, cycle.expected_content_length = False, sys.maxsize
            message["headers"] = headers
        elif cycle.expected_content_length > _NO_LENGTH and not message.get("more_body", False):
            cycle.expected_content_length = len(message.get("body", b""))
        await RequestResponseCycle.send(cycle, message)


_NO_LENGTH: Final = sys.maxsize // 2
