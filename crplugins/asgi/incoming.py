"""Call: one request on its way in, from the client through the plugins to the app."""

import asyncio
import re
from collections.abc import Collection, Iterable
from functools import partial
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crplugins.asgi.disconnect import CancelOnDisconnect
from crplugins.asgi.headers import with_body_headers
from crplugins.asgi.outgoing import Outgoing
from crplugins.asgi.push import PUSH_KEY, find_push
from crplugins.asgi.scope import REFUSAL_KEY, SCOPE_KEY
from crplugins.asgi.sending import send_reply
from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, Header, body_too_large, shutting_down, unsupported_coding
from crplugins.core.exchange import Reply
from crplugins.core.pipeline import Run

_UVICORN_ENDS: Final = "Task cancelled, timeout graceful shutdown exceeded"
"""What uvicorn says when it cancels the requests that its shutdown would not wait for any longer."""


class Call:
    """Runs one request and, whatever happens, concludes it once."""

    __slots__ = (
        "_app", "_exchange", "_limit", "_outgoing", "_pipeline", "_read", "_receive", "_received", "_replay", "_run",
        "_scope",
    )  # fmt: skip

    def __init__(self, app: ASGIApp, run: Run, scope: Scope, receive: Receive, send: Send, *, outermost: bool) -> None:
        self._app = app
        self._run = run
        self._pipeline = run.pipeline
        self._exchange = run.exchange
        pushing = find_push(scope)
        self._outgoing = Outgoing(run, send, pushing, outermost=outermost)
        if pushing is not None:
            scope[PUSH_KEY] = self._outgoing.find_push
        self._limit = run.pipeline.max_body_bytes
        self._scope = scope
        self._receive = receive
        self._read: bytes | None = None
        self._replay: bytes | None = None
        self._received = 0

    async def run(self) -> None:
        """The life of the request. What waits while a stream flows is this function and `_call_app`, and no more."""
        outgoing = self._outgoing
        try:
            try:
                try:
                    reply = await self._run.down(self._read_body)
                    if reply is None:
                        await self._call_app()
                    else:
                        await self._reply(reply)
                except GatewayError as error:
                    await self._fail(error)
            except ClientGone:
                refusal = self._scope.get(REFUSAL_KEY)
                if refusal is None:
                    outgoing.left()
                else:
                    await outgoing.fail(refusal)
            except asyncio.CancelledError as cancelled:
                if not await self._told_of_shutdown(cancelled):
                    outgoing.left()
                    raise
            if self._pipeline.waiting:
                outgoing.conclude()
                await self._run.ended()
        finally:
            if outgoing.outermost:
                self._scope.pop(SCOPE_KEY, None)
                self._scope.pop(PUSH_KEY, None)
            outgoing.conclude()
            self._run.finish()
            if outgoing.refusal is not None:  # its traceback holds all of this: a circle for the garbage collector
                outgoing.refusal.__traceback__ = None

    async def _fail(self, error: GatewayError) -> None:
        """Tell the client of an error, unless it is that there is no client any more."""
        if error.error_type == "client_disconnected":
            raise ClientGone
        await self._outgoing.fail(error)

    async def _told_of_shutdown(self, cancelled: asyncio.CancelledError) -> bool:
        """Whether the server ends while its client waits, and the client now knows.

        Without this a stream would end in the middle, and the record would say that its client had hung up.
        """
        task, outgoing = asyncio.current_task(), self._outgoing
        waits = outgoing.client == "connected" and outgoing.answer != "complete"
        if task is None or not waits or _UVICORN_ENDS not in map(str, cancelled.args):
            return False
        task.uncancel()
        try:
            await outgoing.fail(shutting_down())
        except RuntimeError:  # neither a status nor a frame can be sent any more
            return False
        return True

    async def _read_body(self) -> None:
        exchange, headers = self._exchange, self._scope["headers"]
        check_declared(headers, self._limit)
        raw = await read_body(self._receive, self._limit)
        if exchange.body is None or exchange.body.raw is not raw:
            dialect = exchange.dialect
            if exchange.asks_model:
                exchange.body = dialect.request_of(raw, headers)
            else:
                exchange.body = Body.of_request(raw, tokens=dialect.tokens)
        self._read = raw
        exchange.disconnected = partial(disconnected, self._receive)
        if exchange.requested_model is None:
            exchange.requested_model = exchange.body.get("model", str)
        exchange.stream = exchange.body.get("stream", bool) is True
        if exchange.dialect.has_stream_format:
            exchange.stream = exchange.body.get("stream_format", str) == "sse"

    async def _reply(self, reply: Reply) -> None:
        """Send a plugin's own answer."""
        if isinstance(reply.body, bytes):
            await send_reply(self._outgoing.send, reply)
            return
        with CancelOnDisconnect(self._receive) as client:
            await send_reply(self._outgoing.send, reply)
        if client.gone:
            self._outgoing.left()

    async def _call_app(self) -> None:
        """Enter the app, and once more if it refuses and a plugin asks for that."""
        if self._read is None:
            check_declared_length(self._scope["headers"], self._limit)
        self._exchange.timings.app = self._exchange.clock()
        outgoing, scope = self._outgoing, self._scope
        headers, path, raw_path = scope["headers"], scope["path"], scope.get("raw_path")
        if (inner := self._exchange.inner_path) is not None:
            scope["path"] = path.removesuffix(self._exchange.path) + inner
            scope["raw_path"] = scope["path"].encode()
        try:
            scope["headers"] = self._inner_headers(headers)
            await self._app(scope, self._receive_inside, outgoing.send)
            if outgoing.held is not None and outgoing.held.again:
                scope["headers"] = self._inner_headers(headers)
                await self._app(scope, self._receive_inside, outgoing.release())
        except Exception as error:
            if isinstance(error, GatewayError) and outgoing.refusal is not None:
                outgoing.refusal = error
            if outgoing.refusal is None:
                if outgoing.client == "connected" and not isinstance(error, GatewayError):
                    await outgoing.break_off()
                raise
        finally:
            scope["headers"], scope["path"], scope["raw_path"] = headers, path, raw_path
        if outgoing.refusal is not None and outgoing.answer != "complete":  # whatever the app made of it
            raise outgoing.refusal

    def _inner_headers(self, headers: list[Header]) -> list[Header]:
        """Headers that fit what the app will receive and may send."""
        body = self._exchange.body
        if body is not None and self._read is not None:
            self._replay = body.raw
            if body.raw is not self._read:
                headers = with_body_headers(headers, len(body.raw))
        if self._pipeline.reads_events:  # a compressed answer could not be read
            headers = [h for h in headers if h[0] != b"accept-encoding"]
        return headers

    async def _receive_inside(self) -> Message:
        if self._replay is not None:
            body, self._replay = self._replay, None
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            await self._outgoing.disconnected()
        elif self._pipeline.reads_body_at is None:
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                error = body_too_large(self._limit, self._received)
                if self._outgoing.answer != "begun":
                    # An answer that has begun is for whoever reads the body to end.
                    self._outgoing.refusal = error
                raise error
        return message


class ClientGone(Exception):
    """The client left before its request was complete."""


async def disconnected(receive: Receive) -> None:
    """Returns when the client has disconnected. Its request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises `GatewayError` 413 past `limit` bytes, `ClientGone` if the client leaves meanwhile.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        body: bytes = message.get("body", b"")
        size += len(body)
        if size > limit:
            raise body_too_large(limit, size)
        if not message.get("more_body", False):
            # Of one message the very object received: a second boundary recognises it and shares the parse.
            return b"".join([*parts, body]) if parts else body
        parts.append(body)


def check_declared(headers: Collection[Header], limit: int) -> None:
    """Raise for a body that is announced as one that cannot be read, before reading any of it."""
    fields = dict(headers)
    size, kind = fields.get(b"content-length", b""), fields.get(b"content-type", b"")
    is_plain = size.isdigit() and int(size) <= limit and kind.find(b";") < 0 and b"content-encoding" not in fields
    if not is_plain or len(fields) < len(headers):  # one of them may stand twice
        check_declared_length(headers, limit)
        check_declared_coding(headers)


def check_declared_length(headers: Iterable[Header], limit: int) -> None:
    """Raise 413 for a body that announces itself too large, before reading any of it."""
    for name, value in headers:
        if name == b"content-length":
            if value.isdigit() and int(value) > limit:
                raise body_too_large(limit, int(value))
            return


def check_declared_coding(headers: Iterable[Header]) -> None:
    """Raise 415 for a body that an app inside may decode to another text than the one the plugins judge.

    BlackSheep reads JSON in the charset that the client names: in UTF-7 `+AG0-odel` is `model` once more.
    """
    for name, value in headers:
        if name == b"content-type":
            if b";" in value and _CHARSET.search(value) is not None:
                raise unsupported_coding("charset")
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise unsupported_coding("content-encoding")


_CHARSET: Final = re.compile(
    rb"charset(?:\*|\s*+=\s*+(?![\"']?(?:utf-?8|us-ascii|iso-8859-1)[\"']?\s*+(?:[;,]|\Z)))", re.IGNORECASE
)
"""A charset in which what is ASCII in UTF-8 may be something else."""
