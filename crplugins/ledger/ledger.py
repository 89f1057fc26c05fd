"""Ledger: keeps the record of every request, whatever happens to the database or to this process.

A record is one line of JSON (`encoding`). `add` puts it into the queue and the journal; the `writer` commits it to the
`database` within a second, or to the `spool` while the database is unavailable. Whoever asks goes through the `reader`,
which knows what waits.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from crplugins.core.shared import Shared
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.errors import reason_of
from crplugins.ledger.question import Question, Sums
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.report import answer, spent
from crplugins.ledger.spool import Spool
from crplugins.ledger.writer import COMMIT_SECONDS, LOG_SECONDS, SPOOL_ABOVE, Inserter, Outage, Pending, Replay, Writer
from crplugins.metering.record import UsageRecord

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from crplugins.ledger.retention import Retention

QUEUE_SIZE: Final = 50_000
START_SECONDS: Final = 10.0
"""How long a start waits for the database. If it is unavailable, the ledger starts without it."""

DRAIN_SECONDS: Final = 5.0

logger = logging.getLogger("crplugins.ledger")


class Ledger(Shared):
    """`add` keeps a record at once, in memory and in a journal that survives the process; a task commits it.

        async with Ledger("sqlite:///usage.db") as ledger:
            ledger.add(record)

    While the database is unavailable, slow or locked, records wait in the journal, then in the spool, a SQLite file.
    They are committed when it is available again, if need be after the next start; a record that is written twice is
    one row.

    Args:
        url: `sqlite:///usage.db` or `postgresql://...`.
        spool: the spool's file; the journals are in its folder. By default in the folder of the database's file, else
            `crplugins-spool.db` in the current folder.
        queue_size: how many records may wait in memory. If the spool cannot be written either, further ones are
            dropped.
        keep: how long rows are kept, `retention.SHORTEST` at least; the sums of their days stay. None for ever.
        migrate: whether to migrate the tables to the newest schema.
        drain_seconds: how long closing may take for the database, and then for the spool.
        spool_above: with more waiting records than this, the oldest go to the spool.
        commit_seconds: how long a record waits for others, with which it is committed; 0 commits at once.
        retry_seconds: the first and the longest wait between two attempts; the wait doubles after each failure.
        clock: monotonic seconds, for the log.

    Raises ValueError for an invalid URL, ImportError without its driver; when entered, `SpoolUnusable` if the spool
    or its folder cannot be used. A database that is unavailable raises nothing.
    """

    def __init__(
        self,
        url: str,
        *,
        spool: str | Path | None = None,
        queue_size: int = QUEUE_SIZE,
        keep: timedelta | None = None,
        migrate: bool = True,
        drain_seconds: float = DRAIN_SECONDS,
        spool_above: int = SPOOL_ABOVE,
        commit_seconds: float = COMMIT_SECONDS,
        retry_seconds: tuple[float, float] = (0.1, 5.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = LedgerDatabase(url, migrate=migrate)
        self._spool = Spool(spool_path(self._database, spool))
        self.reader: Final = LedgerReader(self._database, self._spool.path)
        self._pending = Pending()
        self._name: Final = f"the ledger's database {self._database.url}"
        database = Outage(self._name, *retry_seconds, clock=clock)
        files = Outage(f"the ledger's spool {self._spool.path}", *retry_seconds, clock=clock)
        insert = Inserter(self._database, self._spool).insert
        above = min(spool_above, queue_size)
        self._writer = Writer(
            self._pending, insert, self._spool.keep, database, files, spool_above=above, commit_seconds=commit_seconds
        )
        self._replay = Replay(self._spool, insert, database, files)
        self._retention = None if keep is None else _retention(self._database, keep, self._spool.path)
        self._tasks: list[asyncio.Task[None]] = []
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

    @asynccontextmanager
    async def reading(self) -> "AsyncIterator[AsyncConnection]":
        """A connection of SQLAlchemy's for queries of your own. They find what is committed.

        Raises the errors of the database.
        """
        async with self._database.reading() as connection:
            yield connection

    async def answer(self, question: Question) -> list[Sums]:
        """The sums over all records on this machine and all that others have committed.

        Raises the errors of the database.
        """
        return await answer(self.reader, question)

    async def spent(self, scope: Literal["key", "team"], name: str, since: datetime) -> int:
        """What a key or team has spent in requests that began at `since` (with a zone) or later, in micro-USD.

        Counts what `answer` counts, as far as its price is known. Raises the errors of the database.
        """
        return await spent(self.reader, scope, name, since)

    async def open(self) -> None:
        self._pending.journal = await self._spool.open()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._database.prepare()
        except Exception as error:
            logger.error("%s cannot be opened, and records wait: %s", self._name, reason_of(error))
        self._writer.start()
        self._tasks = [asyncio.create_task(self._replay.run())]
        if self._retention is not None:
            self._tasks.append(asyncio.create_task(self._retention.run()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._writer.close(self._drain_seconds)
        self._queue_size = 0  # further records are dropped, and counted
        journal, self._pending.journal = self._pending.journal, None
        assert journal is not None
        await self._within_seconds(self._spool.close(journal))
        await self._within_seconds(self._database.close())

    def __repr__(self) -> str:
        return f"Ledger({self._database!r}, spool={str(self._spool.path)!r})"

    def _drop(self) -> None:
        self._dropped += 1
        now = self._clock()
        if now >= self._log_at:
            self._log_at = now + LOG_SECONDS
            logger.critical("records are lost, %d so far: neither database nor spool can be written", self._dropped)

    async def _within_seconds(self, closing: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._drain_seconds):
                await closing
        except Exception as error:
            logger.error("closing the ledger failed: %s", reason_of(error))


def _retention(database: LedgerDatabase, keep: timedelta, spool: Path) -> "Retention":
    from crplugins.ledger.retention import Retention  # for ledgers that do not keep everything

    return Retention(database, keep, spool.with_name(f"{spool.name}.keep"))


def spool_path(database: LedgerDatabase, given: str | Path | None = None) -> Path:
    """The spool's file: `given`, else the default for this database."""
    if given is not None:
        return Path(given)
    file = database.file
    return Path("crplugins-spool.db") if file is None else file.with_name(f"{file.name}.spool")
