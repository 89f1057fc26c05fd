"""ModelEndpoint: the ASGI endpoint of whatever asks a model. KeepAlive: comments in a stream that is idle."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from crplugins.asgi.disconnect import CancelOnDisconnect
from crplugins.asgi.incoming import read_body
from crplugins.asgi.push import FindPush, find_push
from crplugins.asgi.scope import find_exchange
from crplugins.asgi.sending import send_reply
from crplugins.core.body import Body
from crplugins.core.dialects import RESPONSES
from crplugins.core.errors import GatewayError, internal_error, model_not_found
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.parameters import FURTHER_MODELS
from crplugins.core.request_json import check_one_model
from crplugins.handlers.handler import Handler

logger = logging.getLogger("crplugins.gateway")

COMMENT = b": keep-alive\n\n"


class ModelEndpoint:
    """Finds the handler for the model, and sends its reply as long as the client is connected.

    Runs inside PluginMiddleware, which owns the Exchange and renders the `GatewayError`s that are raised before the
    response has started. A later error becomes a frame of the stream.

    Args:
        find: the handler for a model name, or None.
        keep_alive: seconds for which a stream is idle after which a comment is sent; None for never.
        in_background: told of a request for a response in the background, whose end is to be waited for. Raises
            `GatewayError`.
    """

    def __init__(
        self,
        find: Callable[[str], Handler | None],
        *,
        keep_alive: float | None = None,
        in_background: Callable[[Exchange], None] | None = None,
    ) -> None:
        self._find = find
        self._keep_alive = keep_alive
        self._in_background = in_background

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = find_exchange(scope)
        if exchange is None:
            raise RuntimeError("ModelEndpoint must run inside PluginMiddleware")
        raw = await read_body(receive, sys.maxsize)  # PluginMiddleware limits its size
        body = exchange.body
        if body is None or body.raw is not raw:  # else a plugin has read and parsed these bytes
            exchange.body = body = exchange.dialect.request_of(raw, exchange.headers)
        if not FURTHER_MODELS.isdisjoint(body.fields):
            check_one_model(body.fields, own_fallbacks=exchange.dialect.own_fallbacks)
        exchange.notes_attempts = True
        if exchange.dialect is RESPONSES and self._in_background is not None and body.get("background", bool):
            self._in_background(exchange)
        try:
            with CancelOnDisconnect(receive):
                reply = await self._handler(exchange, body).answer(exchange, body)
                if isinstance(reply.body, bytes):
                    await send_reply(send, reply)
                else:
                    await self._send_stream(exchange, reply, send, find_push(scope))
        except (GatewayError, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("request %s failed", exchange.id)
            raise internal_error() from None

    def _handler(self, exchange: Exchange, body: Body) -> Handler:
        model = body.get("model", str)
        handler = None if model is None else self._find(model)
        if handler is None:
            raise model_not_found(exchange.requested_model or model or "")
        return handler

    def _send_stream(self, exchange: Exchange, reply: Reply, send: Send, find_push: FindPush | None) -> Awaitable[None]:
        def failed(error: Exception) -> bytes:
            if not isinstance(error, GatewayError):
                logger.error("stream of request %s failed", exchange.id, exc_info=error)
                error = internal_error()
            exchange.failed(error, in_stream=True)
            return exchange.last_frames(error)

        if self._keep_alive:
            keep_alive = KeepAlive(self._keep_alive, exchange.clock, send)
            return send_kept_alive(send, reply, failed, find_push, keep_alive)
        return send_reply(send, reply, failed=failed, find_push=find_push)


async def send_kept_alive(
    send: Send,
    reply: Reply,
    failed: Callable[[Exception], bytes],
    find_push: FindPush | None,
    keep_alive: "KeepAlive",
) -> None:
    """Send a stream with comments wherever it is idle."""
    try:
        await send_reply(send, reply, failed=failed, sent=keep_alive.sent, find_push=find_push)
    finally:
        keep_alive.stop()


class KeepAlive:
    """Sends a comment whenever a stream has been idle for `seconds`.

    Only between whole events, and only while the stream is idle: a simple line parser may reject comments. A task is
    made for a comment alone: one that waited in each open stream would take 2 KB.
    """

    __slots__ = ("_clock", "_last", "_loop", "_seconds", "_send", "_sending", "_timer")

    def __init__(self, seconds: float, clock: Callable[[], float], send: Send) -> None:
        self._seconds = seconds
        self._clock = clock
        self._send = send
        self._last = clock()
        self._sending: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._look)

    def sent(self) -> None:
        """A piece of the stream has been sent."""
        self._last = self._clock()

    def stop(self) -> None:
        self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()

    def _look(self) -> None:
        remaining = self._last + self._seconds - self._clock()
        if remaining > 0:
            self._timer = self._loop.call_later(remaining, self._look)
        else:
            self._sending = self._loop.create_task(self._comment())

    async def _comment(self) -> None:
        self.sent()
        await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        self._look()
