"""Which node to talk to: the master that Sentinels name, or the node of a cluster that has our slot.

All keys of a store have one hash tag and are in one slot, so that one node has all that a script needs. To find it
takes one question, and a call that failed makes it asked again: the master may be another one by now.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, RedisError, ResponseError

from crplugins.limits.redis.url import Node, RedisUrl

Visit = Callable[[Node], AbstractConnection]
"""A new connection to a node, not yet connected."""


class NoMaster(RedisError):
    """No Sentinel knows a master of this name."""


class Finder(Protocol):
    """Finds the node."""

    async def find(self) -> Node:
        """Raises what redis-py raises."""


def finder_for(url: RedisUrl, slot_key: str, visit: Visit) -> Finder | None:
    """None for a URL that says itself which server it is."""
    if url.kind == "sentinel":
        return SentinelFinder(url, visit)
    return ClusterFinder(url.seeds, slot_key, visit) if url.kind == "cluster" else None


class _Asked:
    """Asks one after the other; who did not answer is asked last the next time, also if the question was given up."""

    def __init__(self, seeds: Iterable[Node], visit: Visit) -> None:
        self._seeds, self._visit = deque(seeds), visit

    async def _ask(self, *command: str) -> AsyncIterator[tuple[Node, Any]]:
        """Who answered, and what. Raises why the last one did not, if nobody did."""
        failure: Exception | None = None
        answered = False
        for node in list(self._seeds):
            self._seeds.remove(node)
            self._seeds.append(node)
            try:
                async with _connected(self._visit(node)) as connection:
                    await connection.send_command(*command, check_health=False)
                    answer = await connection.read_response()
            except ResponseError:
                raise
            except (RedisError, OSError) as error:
                failure = error
                continue
            self._seeds.remove(node)
            self._seeds.appendleft(node)
            answered = True
            yield node, answer
        if failure is not None and not answered:
            raise failure


@asynccontextmanager
async def _connected(connection: AbstractConnection) -> AsyncIterator[AbstractConnection]:
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        yield connection
    finally:
        with suppress(Exception):
            await connection.disconnect(nowait=True)


class SentinelFinder(_Asked):
    """https://redis.io/docs/latest/develop/reference/sentinel-clients/"""

    def __init__(self, url: RedisUrl, visit: Visit) -> None:
        def visit_sentinel(node: Node) -> AbstractConnection:
            connection = visit(node)
            connection.db, connection.credential_provider = 0, None
            connection.username, connection.password = url.sentinel_user, url.sentinel_password
            return connection

        super().__init__(url.seeds, visit_sentinel)
        self._master: Final = url.master

    async def find(self) -> Node:
        async for _, answer in self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master):
            if answer:
                return _text(answer[0]), int(answer[1])
        raise NoMaster


class ClusterFinder(_Asked):
    """https://redis.io/docs/latest/commands/cluster-slots/

    All nodes that an answer names can be asked the next time: those of the URL may be gone by then.
    """

    def __init__(self, seeds: Iterable[Node], slot_key: str, visit: Visit) -> None:
        super().__init__(seeds, visit)
        self._slot = key_slot(slot_key.encode())

    async def find(self) -> Node:
        async for asked, answer in self._ask("CLUSTER", "SLOTS"):
            nodes = [(_text(node[0]) or asked[0], int(node[1])) for _, _, *held in answer for node in held]
            self._seeds.extend(node for node in dict.fromkeys(nodes) if node not in self._seeds)
            for first, last, master, *_ in answer:
                if first <= self._slot <= last:
                    return _text(master[0]) or asked[0], int(master[1])
        raise ClusterDownError("no node has our slot")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
