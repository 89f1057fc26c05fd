"""Outgoing: the response side of one request, and the only writer of the client's `send`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from starlette.types import Message, Send

from crplugins.asgi.bodies import DocumentBody, ObservedEvents, Passthrough, ResponseBody, RewrittenEvents, is_success
from crplugins.asgi.other_forms import UNCLEAR_TYPES, UnclearBody
from crplugins.asgi.sending import BODY, START, send_reply
from crplugins.core.errors import GatewayError, Header, broken_off
from crplugins.core.exchange import Drain, Exchange, Refusal, Reply
from crplugins.core.pipeline import Run

EVENT_STREAM = b"text/event-stream"
JSON = b"application/json"
_WITHOUT_BODY = (204, 205)
_WHOLE_BODIES = ("http.response.pathsend", "http.response.zerocopysend")
_PASSTHROUGH = Passthrough()


MAX_REFUSAL_BYTES = 64 * 1024
"""A refusal past this is shown to nobody: an error message is short."""


class Outgoing:
    """Sends an app's messages, a plugin's reply or an error through the plugins entered so far.

    `started` once a status was sent, `complete` once the last byte is out, `lost` when the server could not deliver,
    `left` when the client has disconnected. When a plugin fails on the way, `refusal` keeps the error and everything
    the app still sends is dropped, so no second response can start.
    """

    __slots__ = (
        "_body", "_draining", "_exchange", "_pipeline", "_plain", "_run", "_send",
        "complete", "left", "lost", "outermost", "refusal", "started",
    )  # fmt: skip

    def __init__(self, run: Run, send: Send, *, outermost: bool) -> None:
        self._run = run
        self._pipeline = run.pipeline
        self._exchange = run.exchange
        self._send = send
        self.outermost = outermost  # that boundary alone writes x-request-id, and takes the Exchange away again
        self._body: ResponseBody | None = None
        self._draining: Draining | None = None
        self._plain = False  # nothing looks at the rest of the body
        self.refusal: GatewayError | None = None
        self.started = False
        self.complete = False
        self.left = False
        self.lost = False

    def send(self, message: Message) -> Awaitable[None]:
        """The `send` that the app is given."""
        if self.refusal is not None:
            return _drop()
        if message["type"] != BODY:
            return self._other(message)
        return self._write(message) if self._plain else self._continue(message)

    async def drained(self) -> None:
        """The client has disconnected: returns once the answer need not be read any further."""
        self.left = True
        if self._exchange.drain is not None and not self.complete:
            await self._drain(self._exchange.drain).over()
        elif not self.started:
            self.lost = True  # vLLM answers `null` when it notices, and nobody receives it

    async def reply(self, reply: Reply) -> None:
        """Send a plugin's own answer."""
        await send_reply(self.send, reply)

    async def fail(self, error: GatewayError) -> None:
        """Send an error: a response of its own, or the last frames of a stream that has begun.

        Raises RuntimeError if neither is possible; the server then drops the connection, which clients do notice.
        """
        self.refusal = error
        if not self.complete:
            self._exchange.failed(error)
        if not self.started:
            await self._respond(error)
        elif not self.complete and _is_event_stream(self._exchange.response_headers):
            self._exchange.failed_in_stream = True
            unfinished = b"" if self._body is None else self._body.cut()
            await self._write({"type": BODY, "body": unfinished + error.last_frames()})
        else:
            raise RuntimeError("an error was raised after the response had started") from error

    async def break_off(self) -> None:
        """The app has failed in the middle of a stream: end it with an error, if a plugin reads events."""
        if self.complete or self.lost or self._body is None or isinstance(self._body, Passthrough):
            return
        if self.started and _is_event_stream(self._exchange.response_headers):
            with suppress(Exception):  # the app's own exception is the one to report
                await self.fail(broken_off())

    async def _respond(self, error: GatewayError) -> None:
        start = {"type": START, "status": error.status, "headers": error.response_headers()}
        self._body = None
        try:
            await self._begin(start)
            await self._continue({"type": BODY, "body": error.body()})
        except GatewayError as second:  # a plugin failed on the way out too: answer past the plugins
            if self.started:
                return
            headers = [*second.response_headers(), (b"x-request-id", self._exchange.id.encode())]
            self._exchange.failed(second)
            self._exchange.responded(second.status)
            await self._write({"type": START, "status": second.status, "headers": headers})
            await self._write({"type": BODY, "body": second.body()})

    async def _other(self, message: Message) -> None:
        if message["type"] == START:
            await self._begin(message)
            return
        if self._body is not None and self._body.held and not self.started and message["type"] in _WHOLE_BODIES:
            await self._write(self._body.held)  # for a body that the server itself will read
        await self._write(message)  # trailers, pathsend and whatever else a server offers

    async def _begin(self, message: Message) -> None:
        if self._body is not None:
            raise RuntimeError("the app started a second response")
        exchange = self._exchange
        exchange.responded(message["status"])
        headers = [  # Django capitalises their names, against ASGI
            (name, value)
            for key, value in message.get("headers", ())
            if (name := key.lower()) != b"x-request-id" or not self.outermost
        ]
        if self.outermost:
            headers.append((b"x-request-id", exchange.id.encode()))
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
            self._plain, self._body = True, _PASSTHROUGH
        if self._body.held is None:
            await self._write(start)

    def _choose_body(self, start: Message) -> ResponseBody:
        headers = start["headers"]
        if not is_encoded(headers):
            rewrites = self._pipeline.rewrites_events
            kind = content_type(headers)
            # Of a request that was not read, an answer that calls itself a stream is one.
            expected = EVENT_STREAM if self._exchange.body is None or self._exchange.stream else JSON
            is_unclear = kind in UNCLEAR_TYPES and kind != expected
            if is_unclear and is_success(self._exchange) and self._exchange.status not in _WITHOUT_BODY:
                return UnclearBody(self._run, start if rewrites else None)
            if kind == EVENT_STREAM:
                if not rewrites:
                    return ObservedEvents(self._run)
                start["headers"] = [h for h in headers if h[0] != b"content-length"]  # a plugin may change it
                return RewrittenEvents(self._run)
            if kind == JSON:
                return DocumentBody(self._run, start if rewrites else None)
        self._plain = True
        return _PASSTHROUGH

    async def _continue(self, message: Message) -> None:
        if self._body is None:
            raise RuntimeError("the app sent a body before the response had started")
        told = dict(message)  # whoever is further out may write into it, as Starlette's GZip does
        try:
            try:
                for outward in self._body.before(message):
                    await self._write(outward)
            except BaseException:  # what the upstream sent counts even if the client has just gone
                with suppress(GatewayError):
                    self._body.after(told)
                raise
            self._body.after(told)
            if self._body.ended and not self.left and not self.lost:
                self._exchange.received = True
        except GatewayError as error:
            self.refusal = error
            raise

    async def _write(self, message: Message) -> None:
        if self._draining is not None:
            self._draining.look(self._exchange)
            return
        kind = message["type"]
        if kind == BODY:
            self.complete = not message.get("more_body", False)
        elif kind == START:
            self.started = not self.lost
        elif kind in _WHOLE_BODIES:
            self.complete = True
        try:
            await self._send(message)
        except OSError:  # how ASGI 2.4 says that the client has gone
            self.lost = True
            if self._exchange.drain is None:
                raise
            self._drain(self._exchange.drain)

    def _drain(self, drain: Drain) -> "Draining":
        """From here on nothing is sent; the plugins see the remaining events."""
        self._exchange.client_gone = True
        self._draining = self._draining or Draining(drain, self._exchange)
        return self._draining


async def _drop() -> None:
    pass


class HeldRefusal:
    """`send` for an app that may be called once more.

    Args:
        send: where everything goes but a refusal after which the app is called again.
        ask: whether it does.
    """

    __slots__ = ("_ask", "_body", "_passing", "_send", "_start", "again")

    def __init__(self, send: Send, ask: Callable[[Refusal], bool]) -> None:
        self._send = send
        self._ask = ask
        self._start: Message | None = None
        self._body = b""
        self._passing = False
        self.again = False

    def send(self, message: Message) -> Awaitable[None]:
        """The `send` that the app is given."""
        if self._passing:
            return self._send(message)
        if self._start is None and not self.again and not _is_refusal(message):
            self._passing = message["type"] == "http.response.start"
            return self._send(message)
        return self._hold(message)

    async def _hold(self, message: Message) -> None:
        if self.again:
            return
        if self._start is None:
            self._start = message
            return
        if message["type"] != "http.response.body":  # a file the server reads itself, or whatever else
            start, self._start = self._start, None
            await self._send(start)
            await self._send(message)
            return
        self._body += message.get("body", b"")
        more = message.get("more_body", False)
        if more and len(self._body) <= MAX_REFUSAL_BYTES:
            return
        start, self._start = self._start, None
        if not more and self._ask(Refusal(start["status"], self._body)):
            self.again = True
            return
        await self._send(start)
        await self._send({"type": "http.response.body", "body": self._body, "more_body": more})


class Draining:
    """The bounds of one answer that is read for its usage alone. Made when the client has disconnected."""

    __slots__ = ("_last", "_over", "_seconds")

    def __init__(self, drain: Drain, exchange: Exchange) -> None:
        self._seconds = drain.seconds
        self._last = exchange.said.tokens() + drain.tokens
        self._over = asyncio.Event()

    def look(self, exchange: Exchange) -> None:
        """More of the answer came."""
        if exchange.said.tokens() >= self._last:
            self._over.set()

    async def over(self) -> None:
        """Returns once a bound is reached."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._over.wait()


def _is_refusal(message: Message) -> bool:
    if message["type"] != "http.response.start" or message["status"] < 400:
        return False
    return content_type(message.get("headers", ())) == JSON


def _is_event_stream(headers: Iterable[Header]) -> bool:
    return content_type(headers) == EVENT_STREAM and not is_encoded(headers)


def content_type(headers: Iterable[Header]) -> bytes:
    """The media type without its parameters, in lower case; empty if none is named."""
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""


def is_encoded(headers: Iterable[Header]) -> bool:
    """Whether the body is compressed."""
    for name, value in headers:  # noqa: SIM110 (`any` over a generator would be a call for every header)
        if name.lower() == b"content-encoding" and value not in (b"", b"identity"):
            return True
    return False
