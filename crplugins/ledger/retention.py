"""Retention: rows that are older than the operator keeps them go, a few at a time; the sums of their days stay.

Every process of a gateway looks once an hour whether there are any, and one of them deletes: on SQLite the one that has
locked a file beside the spool, on PostgreSQL the one that holds an advisory lock. A batch is one short transaction, and
between two of them it rests for several times as long as one took, so that neither records nor reports wait for it.
Where PostgreSQL's table is partitioned, a month all of which is old enough is dropped instead.
"""

import asyncio
import fcntl
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Final

from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.errors import reason_of

BATCH: Final = 500
"""Rows of one transaction: some milliseconds."""

RESTS: Final = 4
"""How many times as long as a batch took to rest before the next."""

LEAST_REST: Final = 0.02
EVERY_SECONDS: Final = 3600.0
FIRST_SECONDS: Final = 60.0
"""At the latest so long after its start a process looks for the first time; by chance, so that not all do at once."""

SHORTEST: Final = timedelta(days=7)
"""A record that is sent again after its row has gone would be counted twice: none waits in a spool for so long."""

logger = logging.getLogger("crplugins.ledger")


class Retention:
    """`run` is a task of a ledger's.

    Args:
        keep: how long rows are kept, `SHORTEST` at least. Whole days go.
        lock: the file that one process of a machine locks.
        now: the wall clock.
    """

    def __init__(
        self,
        database: LedgerDatabase,
        keep: timedelta,
        lock: Path,
        *,
        batch: int = BATCH,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if keep < SHORTEST:
            raise ValueError(f"a ledger keeps its rows for {SHORTEST.days} days at least")
        self._database, self._keep, self._lock, self._batch, self._now = database, keep, lock, batch, now

    async def run(self) -> None:
        await asyncio.sleep(random.random() * FIRST_SECONDS)  # noqa: S311  # no secret
        while True:
            try:
                if deleted := await self.sweep():
                    logger.info("%d rows that began more than %d days ago are deleted", deleted, self._keep.days)
            except Exception as error:
                logger.warning("old rows of the ledger could not be deleted: %s", reason_of(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def sweep(self) -> int:
        """Deletes what is old enough, and returns how many rows; 0 where another process is at it.

        Raises the errors of the database.
        """
        deleted = 0
        with _alone(self._lock) as alone:
            # By the clock that is behind: one that is years ahead, of one machine of many, would have all rows go.
            now = min(self._now(), await self._database.now() or self._now())
            before = datetime.combine((now - self._keep).astimezone(UTC).date(), time_of_day(), UTC)
            while alone and (month := await self._database.drop_month(before)) is not None:
                logger.info("%s is dropped: all its rows began more than %d days ago", month, self._keep.days)
            while alone:
                began = time.monotonic()
                found = await self._database.delete(before, self._batch)
                deleted += found
                if found < self._batch:
                    break
                await asyncio.sleep(max(LEAST_REST, RESTS * (time.monotonic() - began)))
        return deleted


@contextmanager
def _alone(file: Path) -> Iterator[bool]:
    """Whether no other process of this machine is at it. The lock ends with the process."""
    with file.open("ab") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
