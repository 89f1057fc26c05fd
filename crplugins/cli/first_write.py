"""How an answer is written: `ResponseCycle` makes its head, `FirstWrite` has that leave with the first of its body."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

_JOINED: Final = 64 * 1024
"""Bytes up to which a piece of a body is copied, to leave in one write with the head."""


_MOST_NAMES: Final = 512
"""Of headers that are remembered. An upstream may send as many as it likes."""

_DECIDING: Final = frozenset((b"connection", b"transfer-encoding"))
"""What they say about the connection is uvicorn's to read."""

_CONTROLS: Final = bytes((*range(9), *range(10, 32), 127))
_LINE_END: Final = b"\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"
_CLOSE: Final = b"connection: close\r\n"

_names: set[bytes] = set()
"""Names of headers, in small letters, in which uvicorn has found nothing wrong."""


class ResponseCycle(RequestResponseCycle):
    """uvicorn's answer, whose head is put together at once.

    uvicorn looks at each header in two searches and some thirty steps of Python, and a gateway's answer has a dozen of
    them. Here uvicorn writes the first head with a name that is new; later ones, with names that are all known, are
    joined, and their values searched, all in one.
    """

    def send(self, message: Any) -> Coroutine[Any, Any, None]:
        """A plain function, which adds no coroutine to what uvicorn sends."""
        if message["type"] != "http.response.start" or self.response_started:
            return super().send(message)
        headers = list(message.get("headers", ()))
        if self._begins(message["status"], headers):
            return _nothing()
        return self._sent_by_uvicorn(message, headers)

    def push(self, piece: bytes) -> bool:
        """A `Push`: what `send` does with a piece of a body. It waits first for a slow client; here the caller does."""
        if piece and not self.disconnected:
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return not self.flow.write_paused

    def _begins(self, status: int, headers: list[tuple[bytes, bytes]]) -> bool:
        """Writes the head; False if there is something about it that uvicorn must see to."""
        named = dict(headers)
        if (
            len(named) < len(headers)
            or not _names.issuperset(named)
            or self.flow.write_paused
            or self.disconnected
            or self.access_log
        ):
            return False
        lines = [*self.default_headers, *headers]
        head = _LINE_END.join(map(b": ".join, lines))
        if len(head) - len(head.translate(None, _CONTROLS)) != 2 * max(0, len(lines) - 1):
            return False  # more control characters than end its lines
        length = named.get(b"content-length")
        if length is not None:
            self.expected_content_length, self.chunked_encoding = int(length), False
        elif self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
        self.response_started, self.waiting_for_100_continue = True, False
        parts = [STATUS_LINE[status], head, _LINE_END if head else b"", b"" if self.keep_alive else _CLOSE]
        self.transport.write(b"".join((*parts, _CHUNKED if self.chunked_encoding else b"", _LINE_END)))
        return True

    async def _sent_by_uvicorn(self, message: Any, headers: list[tuple[bytes, bytes]]) -> None:
        message["headers"] = headers  # which may have been an iterator
        await super().send(message)
        if len(_names) < _MOST_NAMES:
            names = {bytes(name) for name, _ in headers}  # else nothing was sent: the client has gone
            _names.update(name for name in names - _DECIDING if name == name.lower() and not HEADER_RE.search(name))


async def _nothing() -> None:
    """What is left to wait for once something is written."""


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
