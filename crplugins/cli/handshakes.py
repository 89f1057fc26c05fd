"""TlsHandshake: a connection with TLS until its handshake is over, within the bounds of every other one.

A server that asyncio makes with a certificate tells of a connection when its handshake is over, and gives it a minute
for that. Until then it would be in no count, and clients that say nothing could take every file descriptor.
"""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from crplugins.cli.connections import LINGER_SECONDS, RUNNING, BoundedHTTP, OpenConnection, OpenConnections
from crplugins.core.errors import GatewayError

if TYPE_CHECKING:
    from crplugins.cli.drain import DrainingConfig


class TlsHandshake(asyncio.Protocol, OpenConnection):
    """Made by uvicorn in the place of a `BoundedHTTP`, which takes the connection over behind the handshake."""

    def __init__(
        self,
        config: "DrainingConfig",
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: OpenConnections,
    ) -> None:
        assert config.tls is not None, "there is a certificate"
        self._context: Final = config.tls
        self._http: Final = partial(BoundedHTTP, config, server_state, app_state, _loop, connections=connections)
        self._connections: Final[set[Any]] = server_state.connections
        self._all: Final = connections
        self._loop: Final = _loop or asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._ends = False
        self._due = 0.0
        self._early: list[bytes] = []
        """What comes before the handshake, and then what comes with its end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self.transport, self.client = transport, get_remote_addr(transport)
        self._due = self._loop.time() + self._all.bounds.head_seconds
        self._connections.add(self)
        self._all.opened(self, self._connections, len(self._connections))
        self._task = self._loop.create_task(self._agree(transport))

    def data_received(self, data: bytes) -> None:
        self._early.append(data)

    def eof_received(self) -> None:
        self._ends = True

    def connection_lost(self, _exc: Exception | None) -> None:
        self._ends = True

    def urgency(self) -> tuple[int, float]:
        return RUNNING if self.transport.is_closing() else (0, self._due)

    def turn_away(self, error: GatewayError) -> None:
        """It can be told behind its handshake. Until then it is the first to give way to the next."""

    def shutdown(self) -> None:
        self.transport.abort()

    async def _agree(self, transport: asyncio.Transport) -> None:
        """Shake hands, and hand the connection over."""
        tls = None
        try:
            if not self._is_over(transport):
                tls = await self._shake_hands(transport)
        except OSError:  # `ssl.SSLError` among them
            if self._loop.time() >= self._due:
                seconds = self._all.bounds.head_seconds
                self._all.warn(f"its TLS handshake was not over within {seconds:g} seconds", self.client)
        finally:
            self._connections.discard(self)
        if tls is None or self._is_over(transport):
            transport.abort()
            return
        http = self._http()
        tls.set_protocol(http)
        http.connection_made(tls)
        if self._early:
            http.data_received(b"".join(self._early))

    async def _shake_hands(self, transport: asyncio.Transport) -> asyncio.Transport | None:
        begun, self._early = b"".join(self._early), []
        if begun:  # uvloop reads before anybody can say that this is TLS. It is read on when that has been given
            self._loop.call_soon(_give, transport, begun)
        return await self._loop.start_tls(
            transport,
            self,
            self._context,
            server_side=True,
            ssl_handshake_timeout=self._all.bounds.head_seconds,
            ssl_shutdown_timeout=LINGER_SECONDS,  # a client need not say that it has seen the end
        )

    def _is_over(self, transport: asyncio.Transport) -> bool:
        return self._ends or transport.is_closing()


def _give(transport: asyncio.Transport, data: bytes) -> None:
    """To the protocol that the transport has now, which takes what comes into a buffer of its own."""
    protocol, rest = transport.get_protocol(), memoryview(data)
    while rest:
        buffer: memoryview = protocol.get_buffer(len(rest))  # type: ignore[attr-defined]  # asyncio's and uvloop's
        size = min(len(buffer), len(rest))
        buffer[:size] = rest[:size]
        protocol.buffer_updated(size)  # type: ignore[attr-defined]
        rest = rest[size:]
