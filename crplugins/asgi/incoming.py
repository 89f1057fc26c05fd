"""Call: one request on its way in, from the client through the plugins to the app."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crplugins.asgi.outgoing import HeldRefusal, Outgoing
from crplugins.asgi.scope import REFUSAL_KEY, SCOPE_KEY
from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, Header, body_too_large, shutting_down
from crplugins.core.exchange import Reply
from crplugins.core.pipeline import Run

_UVICORN_ENDS: Final = "Task cancelled, timeout graceful shutdown exceeded"
"""What uvicorn says when it cancels the requests that its shutdown would not wait for any longer."""


class Call:
    """Runs one request and, whatever happens, concludes it once."""

    __slots__ = (
        "_app", "_cancelled", "_exchange", "_gone", "_limit", "_outgoing", "_pipeline", "_read", "_receive",
        "_received", "_replay", "_run", "_scope",
    )  # fmt: skip

    def __init__(self, app: ASGIApp, run: Run, outgoing: Outgoing, scope: Scope, receive: Receive) -> None:
        self._app = app
        self._run = run
        self._pipeline = run.pipeline
        self._exchange = run.exchange
        self._outgoing = outgoing
        self._limit = run.pipeline.max_body_bytes
        self._scope = scope
        self._receive = receive
        self._read: bytes | None = None
        self._replay: bytes | None = None
        self._received = 0
        self._gone = False
        self._cancelled = False

    async def run(self) -> None:
        try:
            await self._run_to_its_end()
            if self._pipeline.waiting:
                self._conclude()
                await self._run.ended()
        finally:
            if self._outgoing.outermost:
                self._scope.pop(SCOPE_KEY, None)
            self._conclude()
            self._run.finish()

    async def _run_to_its_end(self) -> None:
        try:
            try:
                reply = await self._run.down(self._read_body)
                if reply is None:
                    await self._enter_app()
                else:
                    await self._reply(reply)
            except GatewayError as error:
                await self._outgoing.fail(error)
        except ClientGone:
            refusal = self._scope.get(REFUSAL_KEY)
            if refusal is None:
                self._gone = True
            else:
                await self._outgoing.fail(refusal)
        except asyncio.CancelledError as cancelled:
            if not await self._told_of_shutdown(cancelled):
                self._cancelled = True
                raise

    async def _told_of_shutdown(self, cancelled: asyncio.CancelledError) -> bool:
        """Whether the server ends while its client waits, and the client now knows.

        Without this a stream would end in the middle, and the record would say that its client had hung up.
        """
        task = asyncio.current_task()
        if task is None or self._gone or self._outgoing.complete or _UVICORN_ENDS not in map(str, cancelled.args):
            return False
        task.uncancel()
        try:
            await self._outgoing.fail(shutting_down())
        except RuntimeError:  # neither a status nor a frame can be sent any more
            return False
        return True

    async def _read_body(self) -> None:
        exchange = self._exchange
        check_declared_length(self._scope["headers"], self._limit)
        raw = await read_body(self._receive, self._limit)
        if exchange.body is None or exchange.body.raw is not raw:
            exchange.body = Body.of_request(raw)
        self._read = raw
        if exchange.requested_model is None:
            exchange.requested_model = exchange.body.get("model", str)
        exchange.stream = exchange.body.get("stream", bool) is True

    async def _reply(self, reply: Reply) -> None:
        if isinstance(reply.body, bytes):
            await self._outgoing.reply(reply)
            return
        async with CancelOnDisconnect(self._receive) as client:
            await self._outgoing.reply(reply)
        self._gone = client.gone

    async def _enter_app(self) -> None:
        if self._read is None:
            check_declared_length(self._scope["headers"], self._limit)
        self._exchange.timings.app = self._exchange.clock()
        if not self._pipeline.retrying:
            await self._call_app(self._outgoing.send)
            return
        held = HeldRefusal(self._outgoing.send, self._run.refused)
        await self._call_app(held.send)
        if held.again:
            await self._call_app(self._outgoing.send)

    async def _call_app(self, send: Send) -> None:
        headers = self._scope["headers"]
        self._scope["headers"] = self._inner_headers(headers)
        try:
            await self._app(self._scope, self._receive_inside, send)
        except Exception as error:
            if self._outgoing.refusal is None:
                if not self._gone and not isinstance(error, GatewayError):
                    await self._outgoing.break_off()
                raise
        finally:
            self._scope["headers"] = headers
        refusal = self._outgoing.refusal
        if refusal is not None and not self._outgoing.complete:  # whatever the app made of it
            raise refusal

    def _inner_headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
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
            await self._outgoing.drained()
            self._gone = True
        elif self._pipeline.reads_body_at is None:
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                error = body_too_large(self._limit, self._received)
                if self._outgoing.complete or not self._outgoing.started:
                    # An answer that has begun is for whoever reads the body to end.
                    self._outgoing.refusal = error
                raise error
        return message

    def _conclude(self) -> None:
        outgoing, received = self._outgoing, self._exchange.received
        left = outgoing.lost or self._exchange.client_gone
        left = left or ((self._cancelled or self._gone) and not outgoing.complete)
        status = self._exchange.status if outgoing.started else None
        self._run.conclude(status, left=left and not received, complete=outgoing.complete or received)


class ClientGone(Exception):
    """The client left before its request was complete."""


class CancelOnDisconnect:
    """`async with CancelOnDisconnect(receive):` cancels its body when an `http.disconnect` arrives.

    The request's body must have been read. `gone` says afterwards whether that happened; the cancellation itself ends
    at the block. A model that goes on generating for nobody costs money until it stops by itself.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.gone = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._watcher.cancel()
        ours = self.gone and self._task.uncancel() <= self._cancelling
        return ours and kind is asyncio.CancelledError

    async def _watch(self) -> None:
        left = False
        while not left:
            with suppress(GatewayError):  # a body past its limit, which nobody here reads
                left = (await self._receive())["type"] == "http.disconnect"
        self.gone = True
        self._task.cancel()


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body.

    Raises `GatewayError` 413 past `limit` bytes, `ClientGone` if the client leaves meanwhile.
    """
    message = await _request_message(receive)
    body: bytes = message.get("body", b"")
    if len(body) > limit:
        raise body_too_large(limit, len(body))
    if not message.get("more_body", False):
        return body  # the very object received: a second boundary recognises it and shares the parse
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await _request_message(receive)
        body = message.get("body", b"")
        size += len(body)
        if size > limit:
            raise body_too_large(limit, size)
        parts.append(body)
    return b"".join(parts)


async def _request_message(receive: Receive) -> Message:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    return message


def check_declared_length(headers: Iterable[Header], limit: int) -> None:
    """Raise 413 for a body that announces itself too large, before reading any of it."""
    for name, value in headers:
        if name == b"content-length":
            if value.isdigit() and int(value) > limit:
                raise body_too_large(limit, int(value))
            return


def with_body_headers(headers: Iterable[Header], length: int) -> list[Header]:
    """Headers that fit a replaced body of `length` bytes."""
    kept = [h for h in headers if h[0] not in (b"content-length", b"transfer-encoding")]
    return [*kept, (b"content-length", str(length).encode())]
