"""Writer: brings pending lines into the database.

A batch is what has come while the one before was committed. While the database fails, lines stay pending; those beyond
what the journal holds with ease go to the spool, oldest first, and come back from there when it works again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from crplugins.ledger.database import reason_of
from crplugins.ledger.outage import Outage
from crplugins.ledger.pending import Line, Pending

BATCH: Final = 200
SPOOL_BATCH: Final = 1000
SPOOL_ABOVE: Final = 5_000
"""Pending lines. Less than the journal holds, so that it has room while the spool is written."""

PAUSE: Final = 0.05
"""Seconds after a commit of less than a batch. It takes 1 ms of the event loop, however few lines it has."""

Commit = Callable[[Sequence[bytes]], Awaitable[None]]

logger = logging.getLogger("crplugins.ledger")


class Writer:
    """Two tasks: one for the database, one for the spool.

    Args:
        pending: what is to be written; call `wake` after each line that is added.
        insert: commits lines to the database.
        keep: commits lines to the spool.
        database, files: how the two fare.
        spool_above: from how many pending lines on the oldest go to the spool.
        pause: seconds after a commit of less than a batch.
    """

    def __init__(
        self,
        pending: Pending,
        insert: Commit,
        keep: Commit,
        database: Outage,
        files: Outage,
        *,
        spool_above: int = SPOOL_ABOVE,
        pause: float = PAUSE,
    ) -> None:
        self._pending, self._insert, self._keep = pending, insert, keep
        self._database, self._files = database, files
        self._spool_above, self._pause = spool_above, pause
        self._lines = asyncio.Event()
        self._too_many = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._spill())]

    def wake(self) -> None:
        """A line has been added."""
        self._lines.set()
        if self._pending.waiting > self._spool_above:
            self._too_many.set()

    async def close(self, seconds: float) -> None:
        """Everything pending into the database within so many seconds, else into the spool within as many more.

        What is still pending then is in the journal alone.
        """
        self._closing.set()
        self._lines.set()
        writing, spilling = self._tasks
        spilling.cancel()
        await asyncio.wait([writing, spilling], timeout=seconds)
        writing.cancel()
        await asyncio.wait([writing], timeout=seconds)
        try:
            async with asyncio.timeout(seconds):
                while self._pending.waiting:
                    await self._spool_oldest()
        except Exception as error:
            logger.error("%d records are kept in the journal alone: %s", len(self._pending), reason_of(error))

    async def _write(self) -> None:
        while True:
            if not self._pending.waiting:
                if self._closing.is_set():
                    return
                self._lines.clear()
                await self._lines.wait()
            try:
                await self._commit(self._pending.take(BATCH), self._insert)
            except Exception as error:
                if self._closing.is_set():
                    return
                await self._rest(self._database.failed(error))
            else:
                self._database.ended()
                if self._pending.waiting < BATCH:
                    await self._rest(self._pause)

    async def _spill(self) -> None:
        while True:
            self._too_many.clear()
            await self._too_many.wait()
            while self._pending.waiting > self._spool_above // 2:
                await self._files.outlast(self._spool_oldest)

    async def _spool_oldest(self) -> None:
        await self._commit(self._pending.take(SPOOL_BATCH), self._keep)

    async def _commit(self, lines: list[Line], commit: Commit) -> None:
        try:
            if lines:
                await commit([line for line, _ in lines])
        except BaseException:
            self._pending.put_back(lines)
            raise
        self._pending.done(lines)

    async def _rest(self, seconds: float) -> None:
        """Unless it is time to end."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            pass
