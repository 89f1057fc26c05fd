"""HTTP/1.1 on the server's side, sans-IO: bytes in, requests out; response heads and chunks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD = 64 * 1024
LAST_CHUNK = b"0\r\n\r\n"


class BadRequestError(ValueError):
    """Bytes that are no HTTP/1.1 request; the connection is of no further use."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names in lower case, `target` as sent (path and query)."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    target: str
    version: str
    headers: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        return self.version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"


class RequestParser:
    """Takes bytes as they arrive, in any pieces, and gives requests one by one; pipelined ones wait in the buffer."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: _Head | None = None

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    @property
    def wants_continue(self) -> bool:
        """True while a client waits for `100 Continue` before it sends the body."""
        return self._head is not None and self._head.headers.get("expect", "").lower() == "100-continue"

    def next_request(self) -> HttpRequest | None:
        """The next complete request, None if more bytes are needed. BadRequestError if it can never become one."""
        if self._head is None:
            self._head = self._take_head()
        if self._head is None:
            return None
        body = self._take_body(self._head)
        if body is None:
            return None
        head, self._head = self._head, None
        return HttpRequest(head.method, head.target, head.headers, body, head.keep_alive)

    def _take_head(self) -> _Head | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadRequestError("request head too large")
            return None
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        parts = lines[0].split(" ")
        if len(parts) != 3:
            raise BadRequestError(f"bad request line {lines[0]!r}")
        fields = (line.partition(":") for line in lines[1:])
        method, target, version = parts
        return _Head(method, target, version, {name.strip().lower(): value.strip() for name, _, value in fields})

    def _take_body(self, head: _Head) -> bytes | None:
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return self._take_chunks()
        length = head.headers.get("content-length", "0")
        if not length.isdigit():
            raise BadRequestError(f"bad content-length {length!r}")
        return self._take(int(length))

    def _take(self, length: int) -> bytes | None:
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _take_chunks(self) -> bytes | None:
        """The whole chunked body, nothing consumed until its last chunk is there (trailers are not supported)."""
        body, position = bytearray(), 0
        while (line_end := self._buffer.find(b"\r\n", position)) >= 0:
            size = _chunk_size(bytes(self._buffer[position:line_end]))
            start, position = line_end + 2, line_end + 2 + size + 2
            if len(self._buffer) < position:
                return None
            body += self._buffer[start : start + size]
            if size == 0:
                del self._buffer[:position]
                return bytes(body)
        return None


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise BadRequestError(f"bad chunk size {line!r}") from None


def response_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The status line and the headers, with the blank line."""
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; `data` must not be empty, an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
