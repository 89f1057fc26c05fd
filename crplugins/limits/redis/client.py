"""RedisClient: runs scripts on a Redis or Valkey server, each in one round trip.

It uses redis-py's connections, not its client, whose retries and timeouts let a request wait for half a minute when a
server hangs, and not its blocking pool, in which some of many requests wait without end while others overtake them.

From top to bottom: the client, the Lua `Script`s, the `Connections`, and `reason_of`, which says in words why a call
failed. `deadline.py` says how long a call waits.
"""

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any, Final

import hiredis
import redis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.exceptions import NoScriptError, RedisError

from crplugins.limits.redis.deadline import Deadline, SignsOfLife
from crplugins.limits.store import StoreUnavailable

SECONDS: Final = 0.25
"""How long a server may be silent before a call is given up (`Deadline`), not counting the wait for a connection."""

CONNECTIONS: Final = 32
"""Connections of a process at most, unless the URL says otherwise."""


class RedisClient:
    """Calls wait for one of a few connections in the order in which they came.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, with user, password, database and options as redis-py reads it.
        seconds: how long the server may be silent.
        connections: at most, unless the URL has `max_connections`.

    Raises `ValueError`, whose text has no part of the URL, for one that cannot be read.
    """

    def __init__(self, url: str, *, seconds: float = SECONDS, connections: int = CONNECTIONS) -> None:
        self._seconds = seconds
        self._signs = SignsOfLife()
        self._connections = Connections(url, connections)
        self._free = asyncio.Semaphore(self._connections.most)

    async def open(self) -> None:
        """Prepare what the first call would have to wait for. Never fails: the first call will, and says why."""
        with suppress(Exception):
            await self._connections.prepare()

    async def close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(self._seconds):
                await self._connections.close()

    async def run(self, script: "LuaScript", keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """What the script returns. Raises `StoreUnavailable`."""
        async with self._free:
            try:
                async with Deadline(self._seconds, self._signs), self._connections.one() as connection:
                    return await self._run(connection, script, keys, arguments)
            except Exception as error:
                self._connections.distrust()
                raise StoreUnavailable(f"Redis {reason_of(error)}") from None

    async def _run(
        self, connection: AbstractConnection, script: "LuaScript", keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Any:
        try:
            return await self._reply(connection, script.by_sha(keys, arguments))
        except NoScriptError:  # the server was restarted, emptied or replaced by its replica
            return await self._reply(connection, script.by_text(keys, arguments))

    async def _reply(self, connection: AbstractConnection, command: bytes) -> Any:
        await connection.send_packed_command(command, check_health=False)
        reply = await connection.read_response()
        self._signs.count += 1
        return reply


class LuaScript:
    """A Lua script, called by the SHA-1 of its text, which a server knows if it has seen the text since its start.

    Args:
        parts: of its text: files in this package, without their suffix.
    """

    def __init__(self, *parts: str) -> None:
        folder = files("crplugins.limits.redis")
        text = "".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in parts)
        self.text: Final = text
        self.sha: Final = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def by_sha(self, keys: Sequence[str], arguments: Sequence[str | int]) -> bytes:
        """The command as it is sent. Packed by hiredis: redis-py's own packing takes longer than the server."""
        return _packed(("EVALSHA", self.sha, len(keys), *keys, *arguments))

    def by_text(self, keys: Sequence[str], arguments: Sequence[str | int]) -> bytes:
        """The same for a server that does not know the script; from then on it does."""
        return _packed(("EVAL", self.text, len(keys), *keys, *arguments))


def _packed(command: tuple[str | int, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


RESERVE: Final = LuaScript("meter", "reserve")
SETTLE: Final = LuaScript("meter", "settle")
RENEW: Final = LuaScript("renew")
LEVELS: Final = LuaScript("meter", "levels")
SEED: Final = LuaScript("seed")


_OPTIONS: Final[dict[str, Any]] = {
    "protocol": 2,  # Redis 5 supports no other
    "socket_timeout": None,  # one deadline for the whole call instead, which is a fifth faster
    "socket_connect_timeout": None,
    # Not sending the library's name to the server saves a round trip and the search for its version on disk.
    **({"driver_info": None} if hasattr(redis, "DriverInfo") else {"lib_name": None, "lib_version": None}),
}


class Connections:
    """A connection pool: connections are made when needed, checked before use, kept afterwards.

    Attributes:
        most: how many there may be; the URL's `max_connections`, if it has one.

    Raises `ValueError`, whose text has no part of the URL, for one that cannot be read.
    """

    def __init__(self, url: str, most: int = CONNECTIONS) -> None:
        self._pool = _pool_for(url, most)
        self.most: Final[int] = self._pool.max_connections
        self._distrusted: set[AbstractConnection] = set()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[AbstractConnection]:
        """Raises what redis-py raises, also for more than `most` at once."""
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
        self._distrusted.update(self._pool.made)

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

    def make_connection(self) -> AbstractConnection:
        connection: AbstractConnection = super().make_connection()  # type: ignore[no-untyped-call]
        if isinstance(connection, SSLConnection):
            self.tls = connection.ssl_context = self.tls or connection.ssl_context
        self.made.append(connection)
        return connection


def _pool_for(url: str, most: int) -> _Pool:
    try:
        pool = _Pool.from_url(url, max_connections=most, **_OPTIONS)
        pool.make_connection()  # raises for unknown options
        pool.made.clear()
    except (ValueError, RedisError):
        raise ValueError("must be the URL of a Redis server, such as redis://host:6379/0") from None
    except TypeError:
        raise ValueError("has an option that redis-py does not know") from None
    return pool


_TEXTS: Final = (
    (re.compile(r"NOAUTH|Authentication required|unauthenticated"), "requires a password"),
    (re.compile(r"READONLY"), "is a replica, which cannot be written to"),
    (re.compile(r"\bOOM\b"), "is out of memory"),
    (re.compile(r"NOPERM|user executing the script"), "does not permit this user to use our scripts and keys"),
    (re.compile(r"MISCONF|NOREPLICAS"), "refuses writes, because it cannot persist them"),
    (re.compile(r"\bBUSY\b"), "is busy with another script"),
)
"""By text: errors that share one class, or of a command in a script, whose error contains the text somewhere."""

_CLASSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (exceptions.AuthenticationError, "refuses the user name or password"),
    (exceptions.NoPermissionError, "does not permit this user to use our scripts and keys"),
    (exceptions.ReadOnlyError, "is a replica, which cannot be written to"),
    (exceptions.OutOfMemoryError, "is out of memory"),
    (exceptions.BusyLoadingError, "is still loading its data"),
    (exceptions.MasterDownError, "is a replica that has lost its master"),
    (exceptions.ClusterDownError, "is a node of a cluster that is down"),
    (exceptions.AskError, "is a node of a cluster that does not hold our keys"),
    (TimeoutError, "timed out"),
    (socket.gaierror, "has a host name that cannot be resolved"),
    (ssl.SSLCertVerificationError, "has a certificate that cannot be verified"),
    (ssl.SSLError, "does not agree on TLS"),
    (ConnectionRefusedError, "refuses the connection"),
    (FileNotFoundError, "has no socket at this path"),
    (PermissionError, "has a socket that may not be opened"),
    (OSError, "cannot be reached"),
    (exceptions.ConnectionError, "closed the connection"),
)


def reason_of(error: BaseException) -> str:
    """Why a call failed: a verb phrase whose subject is the server."""
    if isinstance(error, exceptions.RedisError):
        for pattern, reason in _TEXTS:
            if pattern.search(str(error)):
                return reason
    causes = _with_causes(error)
    for kind, reason in _CLASSES:
        if any(isinstance(cause, kind) for cause in causes):
            return reason
    return f"failed with {type(error).__name__}"


def _with_causes(error: BaseException | None) -> list[BaseException]:
    """The error and its causes: redis-py wraps the errors of the operating system."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
