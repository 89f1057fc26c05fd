"""RedisClient: runs scripts on a Redis or Valkey server, each in one round trip, each within a tenth of a second.

It uses redis-py's connections, not its client, whose retries and timeouts let a request wait for half a minute when a
server hangs, and not its blocking pool, in which some of many requests wait without end while others overtake them.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError

from crplugins.limits.redis_connections import CONNECTIONS, Connections
from crplugins.limits.redis_deadline import Deadline
from crplugins.limits.redis_reason import reason_of
from crplugins.limits.redis_script import Script
from crplugins.limits.store import StoreUnavailable

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
