"""Pool: the connections to one origin, kept for the next request."""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple

from crplugins.handlers.http.connection import UpstreamConnection
from crplugins.handlers.http.dial import Dialer
from crplugins.handlers.http.interface import ConnectTimeout, NoConnection, broken_by

KEPT_SECONDS: Final = 60.0
"""How long an idle connection is kept, unless its server says how long it keeps it."""

MOST_KEPT: Final = 256
"""How many idle ones of an origin are kept: each holds memory here and there, and a burst may open thousands."""

_MARGIN: Final = 1.0
"""What is taken off a server's own time: a request that meets its farewell is lost, as it cannot be sent twice."""

_SWEEP_SECONDS: Final = 5.0
_TIMEOUT: Final = re.compile(rb"timeout\s*=\s*(\d{1,9})", re.IGNORECASE)


class Origin(NamedTuple):
    """Where connections lead: a host is a name in ASCII or an address, an IPv6 address without its brackets."""

    host: str
    port: int
    tls: ssl.SSLContext | None


class Pool:
    """Opens a connection where none is idle, as many as there are requests at once, and keeps them.

    The one that was used last is used next, so that those beyond the usual number become old.
    """

    def __init__(self, origin: Origin, permits: Callable[[str], bool] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._origin = origin
        self._dialer = Dialer(origin.host, origin.port, permits)
        self._idle: dict[UpstreamConnection, None] = {}
        self._open: set[UpstreamConnection] = set()
        self._all_lost = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self) -> UpstreamConnection | None:
        """An idle connection that its server has not closed, as far as is known."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable(self._loop.time()):
                return connection
            connection.abort()
        return None

    async def open(self, seconds: float) -> UpstreamConnection:
        """A new connection. Raises `NoConnection`, or `ConnectTimeout` after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                connection = await self._dialled()
        except TimeoutError:
            raise ConnectTimeout from None
        if self._closed or not connection.usable(self._loop.time()):
            connection.abort()
            raise NoConnection("the connection was closed before the request was sent")
        self._open.add(connection)
        return connection

    async def _dialled(self) -> UpstreamConnection:
        host, _, tls = self._origin
        try:
            dialled = await self._dialer.dial()
            _, connection = await self._loop.create_connection(
                lambda: UpstreamConnection(self._loop, self),
                sock=dialled,
                ssl=tls,
                server_hostname=host.rstrip(".") if tls else None,
            )
        except (OSError, ValueError) as error:  # UnicodeError of a name that DNS cannot have
            raise NoConnection(str(broken_by(error))) from None
        return connection

    def returned(self, connection: UpstreamConnection) -> None:
        kept = _kept_seconds(connection)
        if self._closed or kept <= 0 or len(self._idle) >= MOST_KEPT:
            connection.abort()
            return
        connection.idle_until = self._loop.time() + kept
        self._idle[connection] = None
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def lost(self, connection: UpstreamConnection) -> None:
        self._idle.pop(connection, None)
        self._open.discard(connection)
        if not self._open:
            self._all_lost.set()

    async def close(self) -> None:
        """Closes all connections; answers that are on their way break."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self._dialer.close()
        self._all_lost.clear()
        for connection in list(self._open):
            connection.abort()
        if self._open:
            await self._all_lost.wait()

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in [each for each in self._idle if not each.usable(now)]:
            del self._idle[connection]
            connection.abort()
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if self._idle else None


def _kept_seconds(connection: UpstreamConnection) -> float:
    """`Keep-Alive: timeout=5` is what Node.js says, and means."""
    said = connection.headers.get(b"keep-alive")
    match = None if said is None else _TIMEOUT.search(said)
    return KEPT_SECONDS if match is None else min(int(match[1]) - _MARGIN, KEPT_SECONDS)
