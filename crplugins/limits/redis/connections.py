"""Connections: a pool of connections to the node that has our keys."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.exceptions import RedisError

from crplugins.limits.redis.nodes import finder_for
from crplugins.limits.redis.url import Node, RedisUrl, read_redis_url

CONNECTIONS: Final = 32
"""Connections of a process at most, unless the URL says otherwise."""

_OPTIONS: Final[dict[str, Any]] = {
    "protocol": 2,  # Redis 5 supports no other
    "socket_timeout": None,  # one deadline for the whole call instead, which is a fifth faster
    "socket_connect_timeout": None,
    # Not sending the library's name to the server saves a round trip and the search for its version on disk.
    **({"driver_info": None} if hasattr(redis, "DriverInfo") else {"lib_name": None, "lib_version": None}),
}


class Connections:
    """A connection pool: connections are made when needed, checked before use, kept afterwards.

    Args:
        slot_key: a key of ours; all have its slot of a cluster.

    Attributes:
        most: how many there may be; the URL's `max_connections`, if it has one.

    Raises `ValueError`, whose text has no part of the URL, for one that cannot be read.
    """

    def __init__(self, url: str, slot_key: str, most: int = CONNECTIONS) -> None:
        where = read_redis_url(url)
        self._pool = _pool_for(where, most)
        self._finder = finder_for(where, slot_key, self._pool.visitor)
        self._found = False
        self._home = self._pool.node
        self._finding = asyncio.Lock()
        self.most: Final[int] = self._pool.max_connections
        self._distrusted: set[AbstractConnection] = set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[AbstractConnection]:
        """Raises what redis-py raises, also for more than `most` at once."""
        if self._finder is not None and not self._found:
            async with self._finding:
                if not self._found:
                    self._go_to(await self._finder.find())
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
        """A call has failed: reconnect each connection before it is used again.

        The server may have become a replica, or its name may belong to another machine by now. What was connected
        before would then fail call by call, or not be answered at all.
        """
        self._found = False
        self._distrusted.update(self._pool.made)
        if self._finder is None and self._home is not None:
            self._pool.go_to(self._home)  # from a node of a cluster that is gone, to the server that knows another

    def follow(self, moved: RedisError) -> bool:
        """Goes to the node that a `MOVED` names, if it is one: a server that the URL names may be a cluster's."""
        named = _MOVED.fullmatch(str(moved))
        if named is None:
            return False
        self._go_to((named[1] or (self._pool.node or ("", 0))[0], int(named[2])))
        return True

    def _go_to(self, node: Node) -> None:
        self._found = True
        if node != self._pool.node:
            self._distrusted.update(self._pool.made)
            self._pool.go_to(node)

    async def prepare(self) -> None:
        """Loads the CA certificates, which takes too long for the event loop and for a request."""
        if self._pool.tls is not None:
            await asyncio.to_thread(self._pool.tls.get)

    async def close(self) -> None:
        await self._pool.disconnect()


class _Pool(ConnectionPool):
    """Remembers its connections, which share one TLS context: otherwise each would load the CA certificates again."""

    tls: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.made: list[AbstractConnection] = []

    @property
    def node(self) -> Node | None:
        """Where connections go; None for a socket."""
        if "path" in self.connection_kwargs:
            return None
        return self.connection_kwargs.get("host", "localhost"), int(self.connection_kwargs.get("port", 6379))

    def go_to(self, node: Node) -> None:
        """Where connections go from now on; those that are made, when they connect again."""
        self.connection_kwargs.update(host=node[0], port=node[1])
        for connection in self.made:
            _aim(connection, node)

    def visitor(self, node: Node) -> AbstractConnection:
        """A connection to another node, outside the pool."""
        connection = self._made()
        _aim(connection, node)
        return connection

    def make_connection(self) -> AbstractConnection:
        connection = self._made()
        self.made.append(connection)
        return connection

    def _made(self) -> AbstractConnection:
        connection: AbstractConnection = super().make_connection()  # type: ignore[no-untyped-call]
        if isinstance(connection, SSLConnection):
            self.tls = connection.ssl_context = self.tls or connection.ssl_context
        return connection


def _aim(connection: Any, node: Node) -> None:
    connection.host, connection.port = node


_MOVED: Final = re.compile(r"(?:MOVED )?\d+ (\S*):(\d+)")


def _pool_for(url: RedisUrl, most: int) -> _Pool:
    try:
        pool = _Pool.from_url(url.server, max_connections=most, **_OPTIONS)
        pool.make_connection()  # raises for unknown options
        pool.made.clear()
    except (ValueError, RedisError):
        raise ValueError("must be the URL of a Redis server, such as redis://host:6379/0") from None
    except TypeError:
        raise ValueError("has an option that redis-py does not know") from None
    return pool
