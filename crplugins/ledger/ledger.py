"""Ledger: keeps the record of every request in a database, whatever happens to that or to this process.

How records get there is told in `outbox`. Whoever asks goes through the `reader`, which knows what waits.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.errors import reason_of
from crplugins.ledger.outbox import DRAIN_SECONDS, QUEUE_SIZE, Outbox
from crplugins.ledger.question import Question, Sums
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.spool import Spool
from crplugins.ledger.writer import COMMIT_SECONDS, SPOOL_ABOVE, Inserter

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from crplugins.ledger.retention import Retention

START_SECONDS: Final = 10.0
"""How long a start waits for the database. If it is unavailable, the ledger starts without it."""

logger = logging.getLogger("crplugins.ledger")


class Ledger(Outbox):
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
        kept = Spool(spool_path(self._database, spool))
        super().__init__(
            f"the ledger's database {self._database.url}",
            Inserter(self._database, kept).insert,
            kept,
            queue_size=queue_size,
            drain_seconds=drain_seconds,
            spool_above=spool_above,
            commit_seconds=commit_seconds,
            retry_seconds=retry_seconds,
            clock=clock,
        )
        self.reader: Final = LedgerReader(self._database, kept.path)
        self._retention = None if keep is None else _retention(self._database, keep, kept.path)
        self._retaining: asyncio.Task[None] | None = None

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
        from crplugins.ledger.report import answer  # with the first question

        return await answer(self.reader, question)

    async def spent(self, scope: Literal["key", "team"], name: str, since: datetime) -> int:
        """What a key or team has spent in requests that began at `since` (with a zone) or later, in micro-USD.

        Counts what `answer` counts, as far as its price is known. Raises the errors of the database.
        """
        from crplugins.ledger.report import spent  # where there are budgets

        return await spent(self.reader, scope, name, since)

    async def open(self) -> None:
        await super().open()
        if self._retention is not None:
            self._retaining = asyncio.create_task(self._retention.run())

    async def prepare(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._database.prepare()
        except Exception as error:
            logger.error("%s cannot be opened, and records wait: %s", self._name, reason_of(error))

    async def close(self) -> None:
        if self._retaining is not None:
            self._retaining.cancel()
        await super().close()
        await self.within_seconds(self._database.close())

    def __repr__(self) -> str:
        return f"Ledger({self._database!r}, spool={str(self._spool.path)!r})"


def _retention(database: LedgerDatabase, keep: timedelta, spool: Path) -> "Retention":
    from crplugins.ledger.retention import Retention  # for ledgers that do not keep everything

    return Retention(database, keep, spool.with_name(f"{spool.name}.keep"))


def spool_path(database: LedgerDatabase, given: str | Path | None = None) -> Path:
    """The spool's file: `given`, else the default for this database."""
    if given is not None:
        return Path(given)
    file = database.file
    return Path("crplugins-spool.db") if file is None else file.with_name(f"{file.name}.spool")
