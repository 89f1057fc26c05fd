"""UpstreamConnection: HTTP/1.1 to one origin, a request at a time. httptools (llhttp) parses what comes."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from crplugins.handlers.http.deadline import LOOK_AGAIN_SECONDS, MovingDeadline
from crplugins.handlers.http.interface import MAX_HEAD_BYTES, NEVER, HttpError, Through, WholeTimeout, broken_by

_MOST_WAITING: Final = 64 * 1024
"""Bytes that may wait for whoever reads the body. Beyond them nothing is read from the socket."""

_JOINED: Final = 64 * 1024
"""A body up to this size is copied, to leave in one write with its head."""

State = Literal["idle", "asked", "answering", "ended", "broken"]
_UNASKED: Final[Collection[State]] = frozenset({"idle", "ended", "broken"})


def _none() -> float:
    return 0.0


class Owner(Protocol):
    """Whoever keeps connections for reuse."""

    def returned(self, connection: "UpstreamConnection") -> None:
        """Its response is over, and it can take another request."""

    def lost(self, connection: "UpstreamConnection") -> None:
        """It is closed."""


class UpstreamConnection(asyncio.Protocol):
    """Sends one request at a time, and keeps what comes until somebody takes it.

    One read of the socket is one call of the parser, whose callbacks only store, and wakes whoever waits at most once.
    While too much waits to be taken, the socket is not read: the upstream is held back by TCP.

    Bytes that nobody has asked for end the connection, between two requests (where a server says farewell with a 408)
    as well as after an answer: they would be taken for the answer to the next request.

    Attributes:
        state: `asked` until the head has come, `answering` until the body has ended, then `ended` or `broken`.
        failure: why it is `broken`.
        status, headers: of the response; names in lower case, of several with one name the last.
        parts: the bytes of the body that have not been taken.
        deadline: when the response fails with a TimeoutError, by the clock `now`.
        through, left: take what comes of the body while somebody waits for it; see `Response.pass_through`.
        idle_until: when it must not be used any more, by the same clock. For the owner.
    """

    __slots__ = (
        "_finishing", "_loop", "_owner", "_parser", "_paused", "_raw_headers", "_reusable", "_silent",
        "_transport", "_waiter", "_waiting", "deadline", "failure", "headers", "idle_until", "left", "now",
        "on_body", "on_header", "parts", "state", "status", "through",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner) -> None:
        self._loop = loop
        self._owner = owner
        self.now = loop.time
        self.deadline = MovingDeadline(loop, self._expire)
        self._waiter: asyncio.Future[bytes] | None = None
        self.through: Through | None = None
        self.left: Callable[[], float] = _none
        self._raw_headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []
        self.on_header = self._raw_headers.__setitem__  # the parser calls both, and no step of Python is taken
        self.on_body = self.parts.append
        self.headers: Mapping[bytes, bytes] = {}
        self.status = 0
        self.state: State = "idle"
        self.failure: HttpError | TimeoutError | None = None
        self.idle_until = NEVER
        self._waiting = 0  # bytes received for `parts`
        self._silent = 0  # bytes received since the last that were body
        self._paused = self._finishing = self._reusable = False

    def send(self, head: bytes, body: bytes, expires_at: float, over_at: float = NEVER) -> None:
        """Begin a request, whose answer must be over by `over_at`. Only for a connection that is idle."""
        self.status, self.state = 0, "asked"
        self._silent = 0
        self.deadline.latest = over_at
        self.deadline.move(expires_at)
        if len(body) <= _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def head(self) -> asyncio.Future[bytes]:
        """Done when the head of the answer has come, or the request has failed. One waits at a time."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def read(self) -> asyncio.Future[bytes]:
        """What has come of the body, or comes next; b"" at its end. One waits at a time."""
        self._waiter = waiter = self._loop.create_future()
        if self.parts or self.state != "answering":
            self._wake()
        return waiter

    def take(self) -> bytes:
        """What has come of the body and was not taken yet."""
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._waiting = 0
        if self._paused:
            self._resume()
        return data

    def usable(self, now: float) -> bool:
        """Whether a request can be sent. A server that has closed its end has been heard by then, or is heard later."""
        return now < self.idle_until and not self._transport.is_closing()

    def finish(self, linger: float) -> None:
        """The response is no longer wanted. The connection is kept if it ends now, or within `linger` seconds."""
        self.through, self.left = None, _none  # which lead back to the response
        if self.state == "ended":
            self._give_back()
        elif self.state == "answering" and linger > 0:
            self._finishing = True
            self.take()
            self.deadline.move(self.now() + linger)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once, whatever has not been sent."""
        if self.state not in ("ended", "broken"):
            self.state, self.failure = "broken", HttpError("the connection was closed on this side")
        self._reusable = False
        self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a class of its own under uvloop
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(  # what aiohttp reads, and llhttp alone would not
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def data_received(self, data: bytes) -> None:
        if self.state in _UNASKED or self._parser is None:
            self.abort()
            return
        before = len(self.parts)
        self._silent += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._unreadable(error)
        if len(self.parts) > before:
            self._silent = 0
            waiter, through = self._waiter, self.through
            if waiter is not None and through is not None and not waiter.done():
                self._pass(through, waiter)
            elif waiter is not None:
                self._wake()
            elif self._finishing:
                self.parts.clear()
            else:
                self._waiting += len(data)
                if self._waiting > _MOST_WAITING and not self._paused:
                    self._paused = True
                    self._transport.pause_reading()
        elif self._silent > MAX_HEAD_BYTES and self.state != "ended":
            self._break(HttpError("its heads, its trailers or the extension of a chunk are too long"))
        if self._finishing and self.state == "ended":
            self._give_back()

    def eof_received(self) -> None:
        """The upstream will say nothing more, so what it has not read of the request need not be sent."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._parser = None  # which refers to this connection
        self.deadline.cancel()
        self._reusable = False
        if self.state == "answering" and exc is None and self._ends_with_connection():
            self.state = "ended"
        elif self.state in ("asked", "answering"):
            self.state = "broken"
            self.failure = broken_by(exc) if exc is not None else HttpError(_CLOSED[self.status > 0])
        self._wake()
        self._owner.lost(self)

    # What the parser calls, besides `on_header` and `on_body`.

    def on_message_begin(self) -> None:
        if self.state != "asked":
            raise HttpError("it sent an answer that nobody had asked for")
        self._raw_headers.clear()

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return  # another head follows, and what is said until then counts together
        raw = self._raw_headers
        if self._silent > MAX_HEAD_BYTES and sum(map(len, raw)) + sum(map(len, raw.values())) > MAX_HEAD_BYTES:
            raise HttpError("its head is too long")
        self.headers = {name.lower(): value for name, value in raw.items()}
        self.status, self.state = status, "answering"
        self._silent = 0
        self._wake()

    def on_message_complete(self) -> None:
        if self.state == "answering":  # else it was an interim response
            assert self._parser is not None
            self.state = "ended"
            self._reusable = self._parser.should_keep_alive()
            self._wake()

    def _pass(self, through: Through, waiter: asyncio.Future[bytes]) -> None:
        """What has come of the body passes its reader, unless it is left for `read`."""
        parts = self.parts
        piece = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        if not through(piece) and not waiter.done():
            self._waiter = None
            waiter.set_result(piece)

    def _wake(self) -> None:
        """Gives a waiting reader what it waits for."""
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if self.parts:
            waiter.set_result(self.take())
        elif self.failure is not None:
            waiter.set_exception(self.failure)
        else:
            waiter.set_result(b"")

    def _unreadable(self, error: Exception) -> None:
        """The bytes are no HTTP, or not the answer to this request. An answer before them is whole."""
        self._reusable = False
        if self.state != "ended":
            cause = error.__context__
            self._break(cause if isinstance(cause, HttpError) else HttpError("its answer is not HTTP/1.1"))

    def _break(self, failure: HttpError | TimeoutError) -> None:
        self.state, self.failure = "broken", failure
        self._transport.abort()
        self._wake()

    def _expire(self) -> None:
        if self.state not in ("asked", "answering"):
            return
        now = self.now()
        is_late = now >= self.deadline.latest
        # The reader was given something and has not come back, as it is slow or the loop is late: that is no silence.
        is_read = self._waiter is not None or self._finishing
        left = LOOK_AGAIN_SECONDS if self.parts or not is_read else self.left()
        if left > 0 and not is_late:
            self.deadline.move(now + left)
        else:
            self._break(WholeTimeout() if is_late else TimeoutError())

    def _give_back(self) -> None:
        """An upstream may answer before it has read the request: then its rest stands in the way of the next one."""
        self._finishing = False
        if self.parts or self._paused:
            self.take()
        if not self._reusable or self._transport.is_closing() or self._transport.get_write_buffer_size():
            self.abort()
            return
        self.state = "idle"
        self.deadline.latest = NEVER
        self.deadline.move(NEVER)
        self._owner.returned(self)

    def _ends_with_connection(self) -> bool:
        """Whether the body has neither a length nor chunks, and ends where the connection does (RFC 9112, 6.3)."""
        coding = self.headers.get(b"transfer-encoding", b"")
        return b"content-length" not in self.headers and not coding.lower().rstrip().endswith(b"chunked")

    def _resume(self) -> None:
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()


_CLOSED: Final = {
    False: "the connection was closed before an answer came",
    True: "the connection was closed in the middle of the answer",
}
