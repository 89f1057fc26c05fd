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
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final

import hiredis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ResponseError

from crplugins.limits.redis.connections import CONNECTIONS, Connections
from crplugins.limits.redis.deadline import Deadline, SignsOfLife
from crplugins.limits.redis.nodes import NoMaster
from crplugins.limits.store import StoreUnavailable

SECONDS: Final = 0.25
"""How long a server may be silent before a call is given up (`Deadline`), not counting the wait for a connection."""


class RedisClient:
    """Calls wait for one of a few connections in the order in which they came.

    Args:
        url: as `url.py` reads it.
        slot_key: a key of ours; all have its slot of a cluster.
        seconds: how long the server may be silent.
        connections: at most, unless the URL has `max_connections`.

    Raises `ValueError`, whose text has no part of the URL, for one that cannot be read.
    """

    def __init__(self, url: str, slot_key: str, *, seconds: float = SECONDS, connections: int = CONNECTIONS) -> None:
        self._seconds = seconds
        self._signs = SignsOfLife()
        self._connections = Connections(url, slot_key, connections)
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
                async with Deadline(self._seconds, self._signs):
                    return await self._run(script, keys, arguments)
            except Exception as error:
                self._connections.distrust()
                raise StoreUnavailable(f"Redis {reason_of(error)}") from None

    async def _run(self, script: "LuaScript", keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        try:
            async with self._connections.one() as connection:
                return await self._on(connection, script, keys, arguments)
        except ResponseError as error:
            if not self._connections.follow(error):
                raise
        async with self._connections.one() as connection:
            return await self._on(connection, script, keys, arguments)

    async def _on(
        self, connection: AbstractConnection, script: "LuaScript", keys: Sequence[str], arguments: Sequence[str | int]
    ) -> Any:
        try:
            reply = await self._reply(connection, script.by_sha(keys, arguments))
        except NoScriptError:  # the server was restarted, emptied or replaced by its replica
            reply = await self._reply(connection, script.by_text(keys, arguments))
        if not isinstance(reply, script.answers):
            raise exceptions.InvalidResponse
        return reply

    async def _reply(self, connection: AbstractConnection, command: bytes) -> Any:
        await connection.send_packed_command(command, check_health=False)
        reply = await connection.read_response()
        self._signs.count += 1
        return reply


class LuaScript:
    """A Lua script, called by the SHA-1 of its text, which a server knows if it has seen the text since its start.

    Args:
        parts: of its text: files in `package`, without their suffix.
        answers: what it returns. Something else is not its answer: a proxy's, or that to another command.
    """

    def __init__(self, *parts: str, package: str = "crplugins.limits.redis", answers: type = object) -> None:
        folder = files(package)
        text = "".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in parts)
        self.text: Final = text
        self.answers: Final = answers
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


RESERVE: Final = LuaScript("clock", "meter", "reserve", answers=list)
SETTLE: Final = LuaScript("clock", "meter", "settle", answers=int)
RENEW: Final = LuaScript("clock", "renew")
LEVELS: Final = LuaScript("clock", "meter", "levels", answers=list)
SEED: Final = LuaScript("seed")


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
    (NoMaster, "has no master that a Sentinel knows by this name"),
    (exceptions.ClusterDownError, "is a node of a cluster that is down"),
    (exceptions.InvalidResponse, "answers what our scripts do not"),
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
