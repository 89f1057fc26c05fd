"""Outgoing: the response side of one request, and the only writer of the client's `send`."""

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from typing import Literal

from starlette.types import Message, Send

from crplugins.asgi.bodies import Passthrough, ResponseBody, is_success
from crplugins.asgi.documents import DocumentBody
from crplugins.asgi.event_streams import ObservedEvents, RewrittenEvents
from crplugins.asgi.headers import EVENT_STREAM, JSON, name_of, readable_type, with_lower_names, without_length
from crplugins.asgi.held import HeldRefusal, is_refusal
from crplugins.asgi.other_forms import UNCLEAR_TYPES, UnclearBody
from crplugins.asgi.push import FindPush
from crplugins.asgi.sending import BODY, START
from crplugins.core.errors import GatewayError, broken_off
from crplugins.core.exchange import Drain, Exchange, Push
from crplugins.core.pipeline import Run
from crplugins.core.waiting import set_within

_WITHOUT_BODY = (204, 205)
_WHOLE_BODIES = ("http.response.pathsend", "http.response.zerocopysend")
_PASSTHROUGH = Passthrough()

AnswerState = Literal["awaited", "begun", "complete"]
"""What the client has been sent: nothing, a status, the last byte."""

ClientState = Literal["connected", "left", "lost"]
"""`left`: it has disconnected, which takes nothing from an answer that the app has sent to its end. `lost`: nothing
that is sent reaches it, because the server has said so or because it left before any status."""


class Outgoing:
    """Sends an app's messages, a plugin's reply or an error through the plugins entered so far.

    It alone knows how far the answer has come and whether the client is there, and decides by that how the request has
    ended. When a plugin fails on the way, `refusal` keeps the error and everything the app still sends is dropped, so
    no second response can start.

    Attributes:
        held: a refusal of the app that the plugins see before the client.
    """

    __slots__ = (
        "_body", "_draining", "_exchange", "_find_push", "_holds", "_left_within", "_pipeline", "_plain", "_push",
        "_run", "_send", "_unraised", "answer", "client", "held", "outermost", "refusal",
    )  # fmt: skip

    def __init__(self, run: Run, send: Send, find_push: FindPush | None = None, *, outermost: bool) -> None:
        self._run = run
        self._pipeline = run.pipeline
        self._exchange = run.exchange
        self._send = send
        self._find_push = find_push
        self._push: Push | None = None
        self._unraised: Exception | None = None  # what has gone wrong with a piece that was pushed
        self.outermost = outermost  # that boundary alone writes x-request-id, and takes the Exchange away again
        self._body: ResponseBody | None = None
        self._draining: Draining | None = None
        self._plain = False  # nothing looks at the rest of the body
        self._holds = bool(run.pipeline.retrying)  # a start is held if it is that of a refusal
        self.held: HeldRefusal | None = None
        self.refusal: GatewayError | None = None
        self.answer: AnswerState = "awaited"
        self.client: ClientState = "connected"
        self._left_within = False  # it left in the middle of an answer that had not broken

    def send(self, message: Message) -> Awaitable[None]:
        """The `send` that the app is given."""
        if self._unraised is not None:
            error, self._unraised = self._unraised, None
            raise error
        if self.held is not None:
            return self.held.send(message)
        if self.refusal is not None:
            return _drop()
        if message["type"] != BODY:
            return self._other(message)
        return self._write((message,)) if self._plain else self._continue(message)

    def find_push(self, send: Send) -> Push | None:
        """A `FindPush` for the app."""
        if self._find_push is None or self.answer != "begun" or self._draining is not None or send != self.send:
            return None
        self._push = self._find_push(self._send)
        if self._push is None:
            return None
        if isinstance(self._body, RewrittenEvents) and len(self._exchange.boundaries) == 1:
            self._body.expect_repeats()
        return self._pushed

    def _pushed(self, piece: bytes) -> bool:
        """`send` of a piece of the body that is not the last."""
        if self.refusal is not None:
            return True
        exchange = self._exchange
        repeated = exchange.repeated
        try:
            if repeated is None or repeated.piece is not piece:
                return self._push_events(piece)
            for text in repeated.texts:
                exchange.note_text(text)
            assert self._push is not None
            return self._push(repeated.outward)
        except Exception as error:
            if isinstance(error, GatewayError):
                self.refusal = error
            self._unraised = error
            return False

    def _push_events(self, piece: bytes) -> bool:
        """The events of a piece, through the plugins."""
        body, push, client_has_room = self._body, self._push, True
        assert body is not None
        assert push is not None
        message: Message = {"type": BODY, "body": piece, "more_body": True}
        for outward in body.before(message):
            client_has_room = push(outward["body"])
        if not body.rewrites:
            body.after(message)
        if body.ended and self.client == "connected":
            self._exchange.received = True
        return client_has_room

    def release(self) -> Send:
        """Nothing is held any longer."""
        self._holds, self.held = False, None
        return self.send

    async def disconnected(self) -> None:
        """The client has disconnected. Returns once the answer need not be read any further."""
        if self._exchange.drain is not None and self.answer != "complete":
            self.left()
            await self._drain(self._exchange.drain).over()
        elif self.answer == "awaited":
            self.client = "lost"  # vLLM answers `null` when it notices, and nobody receives it
        else:
            self.left()

    def left(self) -> None:
        """Nobody waits for the answer any more."""
        if self.client == "connected":
            self.client = "left"
            self._left_within = self.answer == "begun" and self.refusal is None

    def conclude(self) -> None:
        """Decide how the request has ended. The first call decides. Where the provider works on, that is later."""
        if self._run.concluded:
            return
        exchange, complete = self._exchange, self.answer == "complete"
        if exchange.unended is not None and exchange.unended.goes_on:
            self._run.waits = True
            exchange.unended.conclude_later(self._conclude_later)
            return
        # Starlette's BaseHTTPMiddleware ends a stream whose client has left as if the app had come to its end.
        cut = not complete or (self._left_within and exchange.failed_in_stream)
        left = self.client == "lost" or exchange.client_gone or (self.client == "left" and cut)
        status = None if self.answer == "awaited" else exchange.status
        received = exchange.received
        self._run.conclude(status, left=left and not received, complete=complete or received)

    async def _conclude_later(self, known: bool) -> None:  # noqa: FBT001  # a `Conclude`
        """The provider has ended, and its client need not have stayed."""
        self._run.waits = False
        status = None if self.answer == "awaited" else self._exchange.status
        complete = not self._exchange.failed_in_stream
        self._run.conclude(status, left=self.client == "lost" or not known, complete=complete)
        try:
            await self._run.ended()
        finally:
            self._run.finish()

    async def fail(self, error: GatewayError) -> None:
        """Send an error: a response of its own, or the last frames of a stream that has begun.

        Raises RuntimeError if neither is possible; the server then drops the connection, which clients do notice.
        """
        self.release()
        self.refusal, exchange = error, self._exchange
        if self.answer != "complete":
            exchange.failed(error)
        if self.answer == "awaited":
            await self._respond(error)
        elif self.answer == "begun" and _is_event_stream(exchange):
            exchange.failed_in_stream = True
            unfinished = b"" if self._body is None else self._body.cut()
            await self._write(({"type": BODY, "body": unfinished + exchange.last_frames(error)},))
        else:
            raise RuntimeError("an error was raised after the response had started") from error

    async def break_off(self) -> None:
        """The app has failed in the middle of a stream: end it with an error, if a plugin reads events."""
        if self.answer != "begun" or self.client == "lost" or self._body is None or self._body is _PASSTHROUGH:
            return
        if _is_event_stream(self._exchange):
            with suppress(Exception):  # the app's own exception is the one to report
                await self.fail(broken_off())

    async def _respond(self, error: GatewayError) -> None:
        self._body, self._plain = None, False
        exchange = self._exchange
        body = exchange.dialect.error_body(error, exchange.id)
        try:
            await self._begin({"type": START, "status": error.status, "headers": error.response_headers(body)})
            await self._continue({"type": BODY, "body": body})
        except GatewayError as second:  # a plugin failed on the way out too: answer past the plugins
            if self.answer != "awaited":
                return
            body = exchange.dialect.error_body(second, exchange.id)
            ids = [(name, exchange.id.encode()) for name in exchange.dialect.id_headers]
            headers = [*second.response_headers(body), *ids]
            exchange.failed(second)
            exchange.responded(second.status)
            if not self.outermost:  # the boundary around sends it: it may have refused too, and would send that
                self.answer = "complete"
                raise second from None
            start = {"type": START, "status": second.status, "headers": headers}
            await self._write((start, {"type": BODY, "body": body}))

    def _other(self, message: Message) -> Awaitable[None]:
        if message["type"] != START:
            return self._pass(message)
        if self._holds and is_refusal(message):
            self.held = HeldRefusal(message, self.release, self._run.refused)
            return _drop()
        return self._begin(message)

    async def _pass(self, message: Message) -> None:
        """Trailers, pathsend and whatever else a server offers."""
        body = self._body
        if body is not None and body.held and self.answer == "awaited" and message["type"] in _WHOLE_BODIES:
            await self._write((body.held,))  # for a body that the server itself will read
        await self._write((message,))

    async def _begin(self, message: Message) -> None:
        if self._body is not None:
            raise RuntimeError("the app started a second response")
        self._holds = False
        exchange = self._exchange
        exchange.responded(message["status"])
        own = exchange.dialect.id_headers if self.outermost else ()
        headers = with_lower_names(message.get("headers", ()))
        if not {*own}.isdisjoint(map(name_of, headers)):
            headers = [header for header in headers if header[0] not in own]
        for name in own:
            headers.append((name, exchange.id.encode()))  # a comprehension is one call more
        exchange.response_headers = headers
        try:
            self._run.response()
        except GatewayError as error:
            self.refusal = error
            raise
        start = {**message, "headers": exchange.response_headers}
        if self._pipeline.reads_events:
            self._body = self._choose_body(start)
        else:
            self._body = _PASSTHROUGH
        self._plain = self._body is _PASSTHROUGH
        if self._body.held is None:
            await self._write((start,))

    def _choose_body(self, start: Message) -> ResponseBody:
        headers = start["headers"]
        kind = readable_type(headers)
        if kind is None:
            return _PASSTHROUGH
        rewrites = self._pipeline.rewrites_events
        # Of a request that was not read, an answer that calls itself a stream is one.
        expected = EVENT_STREAM if self._exchange.body is None or self._exchange.stream else JSON
        is_unclear = kind in UNCLEAR_TYPES and kind != expected
        if is_unclear and is_success(self._exchange) and self._exchange.status not in _WITHOUT_BODY:
            return UnclearBody(self._run, start if rewrites else None)
        if kind == EVENT_STREAM:
            if not rewrites:
                return ObservedEvents(self._run)
            start["headers"] = without_length(headers)  # a plugin may change it
            return RewrittenEvents(self._run)
        if kind == JSON:
            return DocumentBody(self._run, start if rewrites else None)
        return _PASSTHROUGH

    def _continue(self, message: Message) -> Awaitable[None]:
        """A piece of the body, through the plugins."""
        body = self._body
        if body is None:
            raise RuntimeError("the app sent a body before the response had started")
        if not body.rewrites:
            return self._write_and_show(message, body)
        try:
            return self._write(body.before(message))
        except GatewayError as error:
            self.refusal = error
            raise

    async def _write_and_show(self, message: Message, body: ResponseBody) -> None:
        """Send a message, then show it to plugins that only look."""
        shown = dict(message)  # whoever is further out may write into it, as Starlette's GZip does
        try:
            await self._write((message,))
        except BaseException:  # what the upstream sent counts even if the client has just gone
            with suppress(GatewayError):
                body.after(shown)
            raise
        try:
            body.after(shown)
        except GatewayError as error:
            self.refusal = error
            raise
        if body.ended and self.client == "connected":
            self._exchange.received = True

    async def _write(self, messages: Iterable[Message]) -> None:
        """Send messages as they are, as long as anybody receives them."""
        body = self._body
        try:
            for message in messages:
                if self._draining is not None:
                    self._draining.push()
                    continue
                if self.client != "lost":
                    kind = message["type"]
                    if kind == START:
                        self.answer = "begun"
                        self._exchange.received = False  # what a boundary inside has sent was held here until now
                    elif kind in _WHOLE_BODIES or (kind == BODY and not message.get("more_body", False)):
                        self.answer = "complete"
                await self._send(message)
        except GatewayError as error:
            self.refusal = error
            raise
        except OSError:  # how ASGI 2.4 says that the client has gone
            self.client = "lost"
            if self._exchange.drain is None:
                raise
            self._drain(self._exchange.drain)
        if body is not None and body.ended and self.client == "connected":
            self._exchange.received = True

    def _drain(self, drain: Drain) -> "Draining":
        """From here on nothing is sent; the plugins see the remaining events."""
        self._exchange.client_gone = True
        self._draining = self._draining or Draining(drain, self._exchange)
        self._push = self._draining.push
        return self._draining


async def _drop() -> None:
    pass


class Draining:
    """The bounds of one answer that is read for its usage alone. Made when the client has disconnected."""

    __slots__ = ("_exchange", "_last", "_over", "_seconds")

    def __init__(self, drain: Drain, exchange: Exchange) -> None:
        self._exchange = exchange
        self._seconds = drain.seconds
        self._last = exchange.said.tokens() + drain.tokens
        self._over = asyncio.Event()

    def push(self, _piece: bytes = b"") -> bool:
        """More of the answer came. As a `Push` it has room for everything."""
        if self._exchange.said.tokens() >= self._last:
            self._over.set()
        return True

    async def over(self) -> None:
        """Returns once a bound is reached."""
        await set_within(self._over, self._seconds)


def _is_event_stream(exchange: Exchange) -> bool:
    return readable_type(exchange.response_headers) == EVENT_STREAM
