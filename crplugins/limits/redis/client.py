"""RedisClient: runs scripts on a Redis or Valkey server, each in one round trip, each within a tenth of a second.

It uses redis-py's connections, not its client, whose retries and timeouts let a request wait for half a minute when a
server hangs, and not its blocking pool, in which some of many requests wait without end while others overtake them.
"""

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from types import TracebackType
from typing import Any, Final, Self

import hiredis
import redis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.exceptions import NoScriptError, RedisError

from crplugins.limits.store import StoreUnavailable


class Script:
    """Called by the SHA-1 of its text, which a server knows if it has seen the text since its start.

    Args:
        name: of the file beside this one, without its ending.
    """

    def __init__(self, name: str) -> None:
        text = files("crplugins.limits.redis").joinpath(f"{name}.lua").read_text("utf-8")
        self.text: Final = text
        self.sha: Final = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def by_name(self, keys: Sequence[str], arguments: Sequence[str | int]) -> bytes:
        """The command as it is sent. Packed by hiredis: redis-py's own packing takes longer than the server."""
        return _packed(("EVALSHA", self.sha, len(keys), *keys, *arguments))

    def by_text(self, keys: Sequence[str], arguments: Sequence[str | int]) -> bytes:
        """The same for a server that does not know the script; from then on it does."""
        return _packed(("EVAL", self.text, len(keys), *keys, *arguments))


def _packed(command: tuple[str | int, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


RESERVE: Final = Script("reserve")
SETTLE: Final = Script("settle")
RENEW: Final = Script("renew")
LEVELS: Final = Script("levels")
SEED: Final = Script("seed")


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


LATE: Final = 0.01
"""Seconds. A timer that is later than this says more about this process than about the server."""

GRACE: Final = 0.04
"""Seconds that the answer, which may have come long ago, is given then; once."""


class Deadline:
    """`async with Deadline(seconds):` raises `TimeoutError` as `asyncio.timeout` does.

    A loop that was held up runs the timer before it hands the answer to whom it belongs, and a busy gateway would take
    a healthy store for a dead one.
    """

    __slots__ = ("_due", "_graced", "_seconds", "_timeout", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)
        self._graced = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._set(self._seconds)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _set(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + seconds
        self._timer = loop.call_at(self._due, self._passed)

    def _passed(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._due > LATE and not self._graced:
            self._graced = True
            self._set(GRACE)
        else:
            self._timeout.reschedule(now)


_TEXTS: Final = (
    (re.compile(r"NOAUTH|Authentication required|unauthenticated"), "asks for a password"),
    (re.compile(r"READONLY"), "is a replica, which cannot be written to"),
    (re.compile(r"\bOOM\b"), "is out of memory"),
    (re.compile(r"NOPERM|user executing the script"), "does not permit this user to use our scripts and keys"),
    (re.compile(r"MISCONF|NOREPLICAS"), "refuses to write, for it cannot keep what is written"),
    (re.compile(r"\bBUSY\b"), "is busy with another script"),
)
"""Of errors of one class, or of a command in a script, which its own error repeats somewhere in its text."""

_CLASSES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (exceptions.AuthenticationError, "refuses the user name or password"),
    (exceptions.NoPermissionError, "does not permit this user to use our scripts and keys"),
    (exceptions.ReadOnlyError, "is a replica, which cannot be written to"),
    (exceptions.OutOfMemoryError, "is out of memory"),
    (exceptions.BusyLoadingError, "is still loading its data"),
    (exceptions.MasterDownError, "is a replica that has lost its master"),
    (exceptions.ClusterDownError, "is a node of a cluster that is down"),
    (exceptions.AskError, "is a node of a cluster that does not hold our keys"),
    (TimeoutError, "does not answer in time"),
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
    """A verb phrase, of which the server is the subject."""
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
    """redis-py wraps what the operating system says."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


SECONDS: Final = 0.1
"""How long a call may take, with connecting, TLS and authentication; the wait for a connection is not counted."""


class RedisClient:
    """Calls wait for one of a few connections in the order in which they came.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, with user, password, database and options as redis-py reads it.
        seconds: how long a call may take.
        connections: at most, unless the URL has `max_connections`.

    Raises `ValueError`, whose text has no part of the URL, for one that cannot be read.
    """

    def __init__(self, url: str, *, seconds: float = SECONDS, connections: int = CONNECTIONS) -> None:
        self._seconds = seconds
        self._connections = Connections(url, connections)
        self._free = asyncio.Semaphore(self._connections.most)

    async def open(self) -> None:
        """What need not be left to the first call. Never fails: that call will, and tells why."""
        with suppress(Exception):
            await self._connections.prepare()

    async def close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(self._seconds):
                await self._connections.close()

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """What the script returns. Raises `StoreUnavailable`."""
        async with self._free:
            try:
                async with Deadline(self._seconds), self._connections.one() as connection:
                    return await _run(connection, script, keys, arguments)
            except Exception as error:
                self._connections.distrust()
                raise StoreUnavailable(f"Redis {reason_of(error)}") from None


async def _run(
    connection: AbstractConnection, script: Script, keys: Sequence[str], arguments: Sequence[str | int]
) -> Any:
    try:
        return await _answer(connection, script.by_name(keys, arguments))
    except NoScriptError:  # the server was restarted, emptied or replaced by its replica
        return await _answer(connection, script.by_text(keys, arguments))


async def _answer(connection: AbstractConnection, command: bytes) -> Any:
    await connection.send_packed_command(command, check_health=False)
    return await connection.read_response()
