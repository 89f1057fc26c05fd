"""The connections of `crplugins serve`: uvicorn's HTTP/1.1, with bounds on what anybody may send before a key is seen.

`BoundedHTTP` is one connection. It bounds the head of a request in bytes and time, the body in time, and what clients
send ahead of answers. `OpenConnections` is all of them: when there are too many, those give way in which no request
runs. Without these a client without a key could have an endless header parsed, at a cost that grows with its square, or
hold every file descriptor of the process with requests that it never finishes.
"""

import asyncio
import heapq
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from crplugins.asgi.push import PUSH_KEY
from crplugins.asgi.scope import REFUSAL_KEY, find_exchange
from crplugins.cli.bounds import (
    LEAST_BODY_BYTES,
    Bounds,
    body_too_slow,
    head_too_large,
    malformed,
    too_many_connections,
)
from crplugins.cli.first_write import FirstWrite, ResponseCycle, Unframed
from crplugins.cli.parts import Flow, Pipelined
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Push, new_request_id

logger = logging.getLogger("crplugins.server")

MOST_PIPELINED: Final = 32
"""Requests of one connection that wait for the answer to an earlier one."""

LINGER_SECONDS: Final = 2.0
"""How long a refused client is still read from: closed at once, it would be reset before it has read the refusal."""

_LOG_SECONDS: Final = 60.0

_AT_ONCE: Final = 64
"""How many connections are looked up at once to give way."""

RUNNING: Final = (3, 0.0)
"""The urgency of a connection that does not give way."""

Stage = Literal["answering", "idle", "head", "body", "rest", "end"]
"""What a connection waits for: the app; a next request; a head; a body; a body's rest after its answer; its end."""


class OpenConnection:
    """One of them, as far as there may be too many."""

    transport: asyncio.Transport
    client: tuple[str, int] | None

    def urgency(self) -> tuple[int, float]:
        """How soon the connection gives way to a new one, the smallest first."""
        raise NotImplementedError

    def turn_away(self, error: GatewayError) -> None:
        """Refuses a connection for which there is no room."""
        raise NotImplementedError


class OpenConnections:
    """The open connections of a process.

    Past `bounds.connections` the oldest of those give way that have never sent a whole head, then of those that have
    been idle longest, then of those whose client does not read its answer. A connection whose request runs never does:
    if all are such, the new one gets 503.
    """

    def __init__(self, bounds: Bounds, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.bounds = bounds
        self.draining = False
        """The process ends: each answer is its connection's last."""
        self.server: ServerState | None = None
        """What uvicorn knows of them all; None before the first connection."""
        self._clock = clock
        self._next: list[OpenConnection] = []
        """Those that gave way least urgently a moment ago, the next one last. Looking at all of them for each new
        connection would be expensive just when there are many."""
        self._log_at: dict[str, float] = {}

    def opened(self, connection: OpenConnection, all_open: Iterable[object], count: int) -> None:
        """One of `count` that are open now, itself included."""
        if count <= self.bounds.connections:
            return
        error = too_many_connections()
        self.warn(f"{self.bounds.connections} connections are open, {self.bounds.why}", connection.client)
        if not self._next:
            waiting = (each for each in all_open if isinstance(each, OpenConnection) and each is not connection)
            self._next = heapq.nsmallest(_AT_ONCE, waiting, key=lambda each: each.urgency())[::-1]
        while self._next:
            oldest = self._next.pop()
            if oldest.urgency() < RUNNING:
                oldest.transport.abort()
                return
        connection.turn_away(error)

    async def drain(self) -> None:
        """Close what is idle, make each running answer its connection's last, and return when they have ended."""
        self.draining = True
        if self.server is None:
            return
        for connection in list(self.server.connections):
            connection.shutdown()
        if running := set(self.server.tasks):  # what comes now is refused, and not waited for
            await asyncio.wait(running)

    def warn(self, reason: str, client: tuple[str, int] | None) -> None:
        """Logs a refusal, at most once a minute for the same reason: anybody can cause one, as often as they like."""
        now = self._clock()
        if now >= self._log_at.get(reason, now):
            self._log_at[reason] = now + _LOG_SECONDS
            logger.warning("%s is refused before its request is read: %s", client[0] if client else "a client", reason)


class BoundedHTTP(HttpToolsProtocol, OpenConnection):
    """A connection. Made by uvicorn, with `connections` bound beforehand (`functools.partial`)."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: OpenConnections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.pipeline = Pipelined()  # type: ignore[assignment]  # uvicorn uses no more of a deque
        self._all = connections
        connections.server = server_state
        self._bounds = connections.bounds
        self._room = self._bounds.head_bytes
        """How many bytes may come that are neither a body's nor end a head. What comes in one packet with the end of a
        head or a body is not counted, so the bound is at most doubled."""
        self._in_head = True
        self._offered = False
        """Whether the head that has just been read offers another protocol, and is read again without the offer."""
        self._deaf = False
        """Whether what comes is thrown away, because the connection ends."""
        self._stage: Stage = "answering"
        self._came = 0
        """Bytes since the body's time began."""
        self._lenient = False
        """Whether the app did not ask for the body when its time began."""
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._wait("head", self._bounds.head_seconds)
        self._all.opened(self, self.connections, len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
        if self.cycle is not None:
            self.cycle.scope.pop(PUSH_KEY, None)  # type: ignore[typeddict-item]
            self.cycle.transport = self.transport  # where no answer has begun, the two hold each other

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._came += len(data)
        rest: bytes | memoryview = data if len(data) <= self._room else memoryview(data)
        while rest:
            piece, rest = rest[: self._room], rest[self._room :]
            self._room -= len(piece)  # to be given back by what the parser finds in it
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._offered:
                    break  # WebSocket; the request is answered, and nothing may follow it
                rest = b"".join((self._without_offer(), piece[upgrade.args[0] :], rest))
                continue
            except httptools.HttpParserError:
                self._refuse(malformed())
                return
            if not self._room:
                self._refuse(head_too_large(self._bounds.head_bytes))
                return
        self._wait_for_more()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise ValueError("too many requests ahead of their answers")  # ends the parsing
        offers = self._checked()
        if offers and self.parser.should_upgrade() and not any(b"websocket" in offer for offer in offers):
            self._offered = self.parser.get_method() != b"CONNECT"
        if self._offered:
            return
        self._in_head, self._room = False, self._bounds.head_bytes
        super().on_headers_complete()
        self.cycle.__class__ = ResponseCycle  # uvicorn has no place to say which class it makes
        self.cycle.transport = FirstWrite(self.cycle)  # type: ignore[assignment]  # it uses no more of one
        if self._is_old():
            self.cycle.send = Unframed(self.cycle)  # type: ignore[method-assign]
        else:
            self.scope[PUSH_KEY] = self.find_push  # type: ignore[typeddict-unknown-key]
        if self._all.draining:
            self.cycle.keep_alive = False
        self.headers = []  # else trailers would be added to the headers of a request that is being answered

    def find_push(self, send: object) -> Push | None:
        """A `FindPush`: pieces of the answer that runs, if it is the one of `send` and is sent in chunks."""
        cycle = self.cycle
        if isinstance(cycle, ResponseCycle) and cycle.chunked_encoding and send == cycle.send:
            return cycle.push
        return None

    def on_body(self, body: bytes) -> None:
        self._room = self._bounds.head_bytes
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offered:
            return  # as the parser takes it, which reads no body after an offer
        self._in_head, self._room = True, self._bounds.head_bytes
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._room < self._bounds.head_bytes or not self._in_head:
            self._wait_for_more()

    def _checked(self) -> list[bytes]:
        """The offers of other protocols in the head. Raises for what a proxy before us may have read otherwise
        (RFC 9112, 3.2 and 6.1), which ends the parsing."""
        named = dict(self.headers)
        if len(named) == len(self.headers) and b"transfer-encoding" not in named and b"upgrade" not in named:
            return []  # as nearly always, and without a look at each of them
        hosts = 0
        offers: list[bytes] = []
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and (value.strip().lower() != b"chunked" or self._is_old()):
                raise ValueError("a coding of the transfer that nobody here undoes, or that HTTP/1.0 has not")
            elif name == b"upgrade":
                offers.append(value.lower())
        if hosts > 1:
            raise ValueError("more than one host")
        return offers

    def _is_old(self) -> bool:
        return self.parser.get_http_version() in ("0.9", "1.0")

    def _without_offer(self) -> bytes:
        """The head that has just been read, for a new parser, without its offer of another protocol.

        Java's HTTP client offers HTTP/2 with every first request in clear text. The offer is passed over (RFC 9110,
        7.8), but the parser takes all that follows for the other protocol: the body, and the next request.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version.encode())]
        lines += [name + b":" + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self._offered, self._room = False, self._bounds.head_bytes  # the head has not grown
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def urgency(self) -> tuple[int, float]:
        if self.transport.is_closing():
            return RUNNING  # makes room already
        if self.cycle is None:
            return (0, self._due)
        if self.cycle.response_complete and not self.pipeline:
            kept = self.timeout_keep_alive_task
            return (1, self._due if kept is None else kept.when())
        return (2, self._due) if self.flow.write_paused else RUNNING

    def turn_away(self, error: GatewayError) -> None:
        self._answer(error)
        self.transport.close()

    def _wait_for_more(self) -> None:
        """What is due next, now that the parser or the app has got so far."""
        answered = self.cycle is None or self.cycle.response_complete
        if not self._in_head:
            self._wait("rest" if answered else "body", self._bounds.body_seconds)
        elif answered and self._room < self._bounds.head_bytes:
            self._wait("head", self._bounds.head_seconds)
        elif answered and self.timeout_keep_alive_task is None:  # which begins with an answer, not with a body's rest
            self._wait("idle", self.timeout_keep_alive)
        else:
            self._stage = "answering"

    def _wait(self, stage: Stage, seconds: float) -> None:
        """Have `_look` called in that time, unless the connection waits for the same already.

        There is one timer. It is not cancelled when a request is complete, which would cost each request something.
        """
        if stage == self._stage:
            return
        self._stage, self._came = stage, 0
        self._due = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._due:
            self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._stage == "answering" or self.transport.is_closing():
            return
        if self.loop.time() < self._due:
            self._rearm()
        elif self._stage == "head":
            self._end_head()
        elif self._stage == "body":
            self._end_body()
        elif self._stage == "end" and not self.transport.can_write_eof():
            self.transport.close()  # with TLS's own word for the end
        else:
            self.transport.abort()

    def _end_head(self) -> None:
        """Without an answer: nothing is asked yet, and a balancer would take it for that to its next request."""
        if self._room < self._bounds.head_bytes:
            self._all.warn(f"its headers did not arrive within {self._bounds.head_seconds:g} seconds", self.client)
        self.transport.close()

    def _end_body(self) -> None:
        """A time in which the app did not ask for the body is not the client's, nor is the one that has begun so."""
        lenient, self._lenient = self._lenient, self.flow.read_paused or self.cycle.waiting_for_100_continue
        if lenient or self._lenient or self._came >= LEAST_BODY_BYTES:
            self._stage = "answering"
            self._wait("body", self._bounds.body_seconds)
        else:
            self._refuse(body_too_slow(self._bounds.body_seconds))

    def _refuse(self, error: GatewayError) -> None:
        """Ends the connection, with `error` if no answer of the app stands before it."""
        self._all.warn(str(error), self.client)
        self._deaf = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer(error)
        elif self._in_head and not self.pipeline:
            cycle.keep_alive = False  # the running answer is the connection's last
            self._stage = "answering"
        elif cycle.response_started or self.pipeline:
            self.transport.close()
        else:
            cycle.scope[REFUSAL_KEY] = error  # type: ignore[typeddict-unknown-key]
            self._answer(error)
            cycle.disconnected = True
            cycle.message_event.set()

    def _answer(self, error: GatewayError) -> None:
        exchange = None if self._in_head or self.cycle is None else find_exchange(self.cycle.scope)  # type: ignore[arg-type]
        request_id = new_request_id() if exchange is None else exchange.id
        headers = [
            *self.server_state.default_headers,
            *error.response_headers(),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", error.body()]))
        if self.transport.can_write_eof():  # TLS cannot say that one side has ended
            self.transport.write_eof()
        self._wait("end", LINGER_SECONDS)
