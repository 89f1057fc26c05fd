"""WebSockets: no plugin sees what is said in one, but who may open it is asked of those that judge who comes in."""

from collections.abc import Callable, Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from crplugins.asgi.scope import make_exchange
from crplugins.core.errors import GatewayError
from crplugins.core.plugin import Plugin

_POLICY_VIOLATION: Final = 1008


class WebSocketDoor:
    """Opens the WebSockets of an app to whom the plugins admit by the headers of the handshake.

    Args:
        plugins: those with `every_websocket`, outermost first.
        clock, new_id: as in PluginMiddleware.
    """

    def __init__(self, plugins: Sequence[Plugin], clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._plugins: Final = plugins
        self._clock: Final = clock
        self._new_id: Final = new_id

    async def enter(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = make_exchange({**scope, "method": "GET"}, self._clock, self._new_id, None)
        try:
            for plugin in self._plugins:
                if (asked := plugin.on_request(exchange)) is not None:
                    await asked
        except GatewayError:
            await close(send)
        else:
            await app(scope, receive, send)


async def close(send: Send) -> None:
    """Refuse a WebSocket that is not open yet, which servers answer with 403."""
    await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
