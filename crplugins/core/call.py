"""Call: one request on its way in, from the client through the plugins to the app."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope

from crplugins.core.body import Body
from crplugins.core.disconnect import CancelOnDisconnect
from crplugins.core.errors import GatewayError, body_too_large
from crplugins.core.exchange import SCOPE_KEY, Exchange, Outcome, Reply
from crplugins.core.outgoing import Outgoing
from crplugins.core.pipeline import Pipeline
from crplugins.core.request import ClientGone, check_declared_length, read_body, with_body_headers


class Call:
    """Runs one request and, whatever happens, concludes it once."""

    __slots__ = (
        "_app", "_cancelled", "_exchange", "_gone", "_limit", "_outgoing", "_pipeline", "_receive", "_received",
        "_replay", "_scope",
    )  # fmt: skip

    def __init__(
        self,
        app: ASGIApp,
        pipeline: Pipeline,
        outgoing: Outgoing,
        exchange: Exchange,
        scope: Scope,
        receive: Receive,
    ) -> None:
        self._app = app
        self._pipeline = pipeline
        self._outgoing = outgoing
        self._exchange = exchange
        self._limit = pipeline.max_body_bytes
        self._scope = scope
        self._receive = receive
        self._replay: bytes | None = None
        self._received = 0
        self._gone = False
        self._cancelled = False

    async def run(self) -> None:
        try:
            await self._answer()
        except ClientGone:
            self._gone = True
        except asyncio.CancelledError:
            self._cancelled = True
            raise
        finally:
            if self._outgoing.outermost:
                self._scope.pop(SCOPE_KEY, None)
            self._conclude()

    async def _answer(self) -> None:
        try:
            await self._down()
        except GatewayError as error:
            await self._outgoing.fail(error)

    async def _down(self) -> None:
        check_declared_length(self._scope["headers"], self._limit)
        for step in self._pipeline.steps:
            if step.index == self._pipeline.reads_body_at:
                await self._read_body()
            self._outgoing.entered = step.index + 1
            if step.on_request is None:
                continue
            try:
                await step.on_request(self._exchange)
            except Exception as error:
                self._pipeline.tolerate(step, "on_request", self._exchange, error)
            if self._exchange.reply is not None:
                await self._reply(self._exchange.reply)
                return
        await self._enter_app()

    async def _read_body(self) -> None:
        exchange = self._exchange
        raw = await read_body(self._receive, self._limit)
        if exchange.body is None or exchange.body.raw is not raw:
            exchange.body = Body(raw)
        self._replay = raw
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
        headers = self._scope["headers"]
        self._scope["headers"] = self._inner_headers(headers)
        try:
            await self._app(self._scope, self._receive_inside, self._outgoing.send)
        except Exception:
            if self._outgoing.refusal is None:
                raise
        finally:
            self._scope["headers"] = headers
        refusal = self._outgoing.refusal
        if refusal is not None and not self._outgoing.complete:  # whatever the app made of it
            raise refusal

    def _inner_headers(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Headers that fit what the app will receive and may send."""
        body = self._exchange.body
        if body is not None and self._replay is not None and body.raw is not self._replay:
            self._replay = body.raw
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
            self._gone = True
        elif self._pipeline.reads_body_at is None:
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                self._outgoing.refusal = body_too_large(self._limit, self._received)
                raise self._outgoing.refusal
        return message

    def _conclude(self) -> None:
        exchange, outgoing = self._exchange, self._outgoing
        exchange.timings.ended = exchange.clock()
        left = outgoing.lost or ((self._cancelled or self._gone) and not outgoing.complete)
        if not outgoing.started:
            exchange.status = 499 if left else 500
        exchange.outcome = "cancelled" if left else _outcome(exchange, complete=outgoing.complete)
        self._pipeline.finish(exchange, outgoing.entered)


def _outcome(exchange: Exchange, *, complete: bool) -> Outcome:
    status = exchange.status or 500
    if not complete or exchange.failed_in_stream or status >= 500:
        return "server_error"
    if status == 429:
        return "limited"
    return "client_error" if status >= 400 else "ok"
