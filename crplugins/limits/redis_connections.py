"""Connections: a bounded number of them to one Redis server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.exceptions import RedisError

CONNECTIONS: Final = 32

_OPTIONS: Final[dict[str, Any]] = {
    "protocol": 2,  # Redis 5 knows no other
    "socket_timeout": None,  # a deadline for the whole call takes their place, and costs a fifth less of its time
    "socket_connect_timeout": None,
    # Not to name this library to the server saves a round trip, and a look into the file system for its version.
    **({"driver_info": None} if hasattr(redis, "DriverInfo") else {"lib_name": None, "lib_version": None}),
}


class Connections:
    """Made when needed, checked before use, kept afterwards.

    Attributes:
        most: how many there may be; the URL's `max_connections`, if it has one.

    Raises `ValueError`, whose text has no part of the URL, for one that cannot be read.
    """

    def __init__(self, url: str, most: int = CONNECTIONS) -> None:
        self._pool = _opened(url, most)
        self.most: Final[int] = self._pool.max_connections
        self._distrusted: set[AbstractConnection] = set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[AbstractConnection]:
        """Raises what redis-py raises; more than there may be is an error."""
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            if connection in self._distrusted:
                self._distrusted.discard(connection)
                await connection.disconnect(nowait=True)
                await connection.connect()
            yield connection
        finally:
            await self._pool.release(connection)

    def distrust(self) -> None:
        """A call has failed: let each connection be made anew before it is used again.

        The server may have become a replica, or its name may belong to another machine by now. What was connected
        before would then fail call by call, or not be answered at all.
        """
        self._distrusted.update(self._pool.made)

    async def prepare(self) -> None:
        """Reads the certificates of authorities, which takes too long for the event loop and for a request."""
        if self._pool.tls is not None:
            await asyncio.to_thread(self._pool.tls.get)

    async def close(self) -> None:
        await self._pool.disconnect()


class _Pool(ConnectionPool):
    """Remembers its connections, which share one TLS context: each would read the certificates of authorities again."""

    tls: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.made: list[AbstractConnection] = []

    def make_connection(self) -> AbstractConnection:
        connection: AbstractConnection = super().make_connection()  # type: ignore[no-untyped-call]
        if isinstance(connection, SSLConnection):
            self.tls = connection.ssl_context = self.tls or connection.ssl_context
        self.made.append(connection)
        return connection


def _opened(url: str, most: int) -> _Pool:
    try:
        pool = _Pool.from_url(url, max_connections=most, **_OPTIONS)
        pool.make_connection()  # to find options that nobody knows
        pool.made.clear()
    except (ValueError, RedisError):
        raise ValueError("must be the URL of a Redis server, such as redis://host:6379/0") from None
    except TypeError:
        raise ValueError("has an option that redis-py does not know") from None
    return pool
