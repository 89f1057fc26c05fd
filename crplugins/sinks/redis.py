"""RedisBroker: messages into a stream of Redis or Valkey, of which the oldest go when it is longer than it may be."""

from collections.abc import Sequence
from typing import Final

from crplugins.sinks.message import RecordMessage

try:
    from crplugins.limits.redis.client import LuaScript, RedisClient
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("redis", "hiredis"):
        raise
    raise ImportError("a sink to Redis needs redis; install it with: pip install 'crplugins[redis]'") from error

SECONDS: Final = 5.0
"""How long the server may be silent."""

_PUBLISH: Final = LuaScript("publish", package="crplugins.sinks")


class RedisBroker:
    """Each message is an entry with one field, `record`. A batch is added in one step.

    Args:
        url: as that of a limit store: a server, Sentinels or a cluster.
        stream: the key of the stream.
        max_length: about how many entries it has at most (`XADD ... MAXLEN ~`): what consumers have not read by then is
            lost to them.

    Raises ImportError without redis, and `ValueError`, whose text has no part of the URL, for one that cannot be read.
    """

    kind: Final = "redis"

    def __init__(self, url: str, stream: str, max_length: int, *, seconds: float = SECONDS) -> None:
        self._client = RedisClient(url, stream, seconds=seconds, connections=1)
        self._stream, self._max_length = stream, max_length

    async def publish(self, messages: Sequence[RecordMessage]) -> None:
        """Raises `StoreUnavailable`."""
        values = [message.value.decode() for message in messages]
        await self._client.run(_PUBLISH, [self._stream], [self._max_length, *values])

    async def close(self) -> None:
        await self._client.close()

    def __str__(self) -> str:
        return f"the Redis stream {self._stream}"
