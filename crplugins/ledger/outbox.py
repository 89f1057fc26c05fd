"""Outbox: usage records on their way to somebody who may be away, whatever happens to this process meanwhile.

A record is one line of JSON (`encoding`). `add` puts it into the queue and the journal; the `writer` commits it within
a second, or to the `spool` while whoever takes it is unavailable. The ledger is one, and so is each sink.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from crplugins.core.shared import Shared
from crplugins.ledger.encoding import encode
from crplugins.ledger.errors import reason_of
from crplugins.ledger.spool import Spool
from crplugins.ledger.writer import COMMIT_SECONDS, LOG_SECONDS, SPOOL_ABOVE, Commit, Outage, Pending, Replay, Writer
from crplugins.metering.record import UsageRecord

QUEUE_SIZE: Final = 50_000
DRAIN_SECONDS: Final = 5.0

logger = logging.getLogger("crplugins.ledger")


class SpoolFull(Exception):
    """As many records wait on disk as may."""


class Outbox(Shared):
    """`add` keeps a record at once, in memory and in a journal that survives the process; a task commits it.

    While it cannot be committed, records wait in the journal, then in the spool, a SQLite file. They are committed when
    that works again, if need be after the next start; a record may be committed twice.

    Args:
        name: of whoever takes the records, for the log.
        insert: commits lines, some of which it may have committed before.
        spool: where lines wait; the journals are in its folder.
        queue_size: how many records may wait in memory. If the spool cannot be written either, further ones are
            dropped.
        most_spooled: how many records may wait in the spool; None for as many as the disk holds.
        drain_seconds: how long closing may take for `insert`, and then for the spool.
        spool_above: with more waiting records than this, the oldest go to the spool.
        commit_seconds: how long a record waits for others, with which it is committed; 0 commits at once.
        retry_seconds: the first and the longest wait between two attempts; the wait doubles after each failure.
        clock: monotonic seconds, for the log.

    Raises `SpoolUnusable` when entered, if the spool or its folder cannot be used.
    """

    def __init__(
        self,
        name: str,
        insert: Commit,
        spool: Spool,
        *,
        queue_size: int = QUEUE_SIZE,
        most_spooled: int | None = None,
        drain_seconds: float = DRAIN_SECONDS,
        spool_above: int = SPOOL_ABOVE,
        commit_seconds: float = COMMIT_SECONDS,
        retry_seconds: tuple[float, float] = (0.1, 5.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name: Final = name
        self._spool: Final = spool
        self._most_spooled = most_spooled
        self._pending: Final = Pending()
        taker = Outage(name, *retry_seconds, clock=clock)
        files = Outage(f"the spool {spool.path}", *retry_seconds, clock=clock)
        above = min(spool_above, queue_size)
        self._writer = Writer(
            self._pending, insert, self._keep, taker, files, spool_above=above, commit_seconds=commit_seconds
        )
        self._replay = Replay(spool, insert, taker, files)
        self._replaying: asyncio.Task[None] | None = None
        self._wake = self._writer.wake
        self._queue_size, self._drain_seconds, self._clock = queue_size, drain_seconds, clock
        self._dropped = 0
        self._log_at = float("-inf")

    def add(self, record: UsageRecord) -> None:
        """Keeps the record. Call it on the event loop. It never blocks, never raises, and takes about 3 us."""
        if self._pending.waiting >= self._queue_size:
            self._drop()
            return
        self._pending.add(encode(record))
        self._wake()

    @property
    def pending(self) -> int:
        return len(self._pending)

    @property
    def spooled(self) -> int:
        return self._spool.count

    @property
    def dropped(self) -> int:
        return self._dropped

    @property
    def unjournaled(self) -> int:
        """How many records a SIGKILL could have lost, because the journal was full."""
        return self._pending.unjournaled

    async def open(self) -> None:
        self._pending.journal = await self._spool.open()
        await self.prepare()
        self._writer.start()
        self._replaying = asyncio.create_task(self._replay.run())

    async def prepare(self) -> None:
        """What is done before the first line is committed. Raises nothing."""

    async def close(self) -> None:
        assert self._replaying is not None, "it was opened"
        self._replaying.cancel()
        await self._writer.close(self._drain_seconds)
        self._queue_size = 0  # further records are dropped, and counted
        journal, self._pending.journal = self._pending.journal, None
        assert journal is not None
        await self.within_seconds(self._spool.close(journal))

    async def _keep(self, lines: Sequence[bytes]) -> None:
        if self._most_spooled is not None and self._spool.count >= self._most_spooled:
            raise SpoolFull(f"{self._spool.count} records are in it, and {self._most_spooled} may be")
        await self._spool.keep(lines)

    def _drop(self) -> None:
        self._dropped += 1
        now = self._clock()
        if now >= self._log_at:
            self._log_at = now + LOG_SECONDS
            logger.critical(
                "records are lost, %d so far: neither %s nor the spool can be written", self._dropped, self._name
            )

    async def within_seconds(self, closing: Coroutine[Any, Any, None]) -> None:
        """Awaits what closes a part of it, `drain_seconds` at most. What goes wrong is logged."""
        try:
            async with asyncio.timeout(self._drain_seconds):
                await closing
        except Exception as error:
            logger.error("closing %s failed: %s", self._name, reason_of(error))
