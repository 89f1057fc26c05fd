"""RecordStream: publishes the record of every request to a broker, at least once, whatever happens meanwhile.

It is an outbox as the ledger is one: the record is in a journal that survives the process before it is forgotten, and
waits there, then in a spool on disk, while the broker is away. A message may come twice; its `request_id` says so.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from crplugins.ledger.outbox import Outbox
from crplugins.ledger.spool import Spool
from crplugins.sinks.message import RecordMessage, message_of

MOST_SPOOLED: Final = 1_000_000
"""Records that wait on disk, about a gigabyte."""

logger = logging.getLogger("crplugins.sinks")


class Broker(Protocol):
    """Where messages go. Its text names it in the log, without what may be a secret."""

    @property
    def kind(self) -> str:
        """`kafka` or `redis`."""

    async def publish(self, messages: Sequence[RecordMessage]) -> None:
        """Returns when all of them are safe there; raises if one may not be. Some may have been there before.

        Called again only when it has returned.
        """

    async def close(self) -> None: ...


class RecordStream(Outbox):
    """A sink of `Usage`: `Usage(sinks=[RecordStream(KafkaBroker("localhost:9092", topic="usage"))])`.

    Args:
        broker: where records are published.
        spool: a file for those that wait; journals are in its folder. By default `crplugins-kafka.db` or
            `crplugins-redis.db` in the current one.
        most_spooled: how many may wait there. After them and `queue_size` in memory records are dropped.
        options: those of `Outbox`.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        spool: str | Path | None = None,
        most_spooled: int = MOST_SPOOLED,
        **options: Any,
    ) -> None:
        self._broker: Final = broker
        self.kind: Final = broker.kind
        self.published = 0
        self._turn = asyncio.Lock()
        path = Path(f"crplugins-{broker.kind}.db" if spool is None else spool)
        super().__init__(str(broker), self._publish, Spool(path), most_spooled=most_spooled, **options)

    async def close(self) -> None:
        await super().close()
        await self.within_seconds(self._broker.close())

    async def _publish(self, lines: Sequence[bytes]) -> None:
        messages = [message for line in lines if (message := _message(line)) is not None]
        async with self._turn:
            await self._broker.publish(messages)
        self.published += len(messages)


def _message(line: bytes) -> RecordMessage | None:
    try:
        return message_of(line)
    except msgspec.DecodeError as error:  # nothing of ours: it would stop all that come after it
        logger.error("a record that waited on disk cannot be read, and is left out: %s", error)
        return None
