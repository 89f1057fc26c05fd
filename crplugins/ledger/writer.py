"""Writer: commits pending lines to the database.

A batch is what arrives within a second, or less if it is full before: a commit costs as much as ten requests, however
few its lines, and the journal keeps them meanwhile. While the database fails, lines stay pending; when
there are more than the journal should hold, the oldest go to the spool, and Replay brings them back from there when the
database works again. Both commit through the Inserter, which quarantines lines that the database will never take.
Pending is the queue between `Ledger.add` and the Writer, and an Outage logs a failure and times its retries.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from crplugins.core.waiting import set_within
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.errors import LinesRefused, reason_of
from crplugins.ledger.journal import Journal, Segment
from crplugins.ledger.spool import Spool

logger = logging.getLogger("crplugins.ledger")

LOG_SECONDS: Final = 60.0
BATCH: Final = 200
SPOOL_BATCH: Final = 1000
SPOOL_ABOVE: Final = 5_000
"""Pending lines. Fewer than the journal holds, so that it has room while the spool is written."""

COMMIT_SECONDS: Final = 1.0
"""How long a line waits for others."""

Line = tuple[bytes, Segment | None]
"""A line of JSON, and its segment of the journal; None if it is not in the journal."""

Commit = Callable[[Sequence[bytes]], Awaitable[None]]
T = TypeVar("T")


class Writer:
    """Two tasks: one for the database, one for the spool.

    Args:
        pending: the lines to write; call `wake` after each line that is added.
        insert: commits lines to the database.
        keep: commits lines to the spool.
        database, files: the outages of the two.
        spool_above: with more pending lines than this, the oldest go to the spool.
        commit_seconds: how long a line waits for a batch to be full.
    """

    def __init__(
        self,
        pending: "Pending",
        insert: Commit,
        keep: Commit,
        database: "Outage",
        files: "Outage",
        *,
        spool_above: int = SPOOL_ABOVE,
        commit_seconds: float = COMMIT_SECONDS,
    ) -> None:
        self._pending, self._insert, self._keep = pending, insert, keep
        self._database, self._files = database, files
        self._spool_above, self._commit_seconds = spool_above, commit_seconds
        self._lines = asyncio.Event()
        self._full = asyncio.Event()
        self._too_many = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._spill())]

    def wake(self) -> None:
        """A line has been added."""
        self._lines.set()
        waiting = self._pending.waiting
        if waiting >= BATCH:
            self._full.set()
        if waiting > self._spool_above:
            self._too_many.set()

    async def close(self, seconds: float) -> None:
        """Commits all pending lines to the database within `seconds`, else to the spool within as many more.

        Lines that are still pending after that are in the journal alone.
        """
        self._closing.set()
        self._lines.set()
        self._full.set()
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
            await self._batch()
            try:
                await self._commit(self._pending.take(BATCH), self._insert)
            except Exception as error:
                if self._closing.is_set():
                    return
                await set_within(self._closing, self._database.failed(error))
            else:
                self._database.recovered()

    async def _batch(self) -> None:
        """Waits for a full batch, for `commit_seconds` at most."""
        if self._pending.waiting < BATCH and not self._closing.is_set():
            self._full.clear()
            await set_within(self._full, self._commit_seconds)

    async def _spill(self) -> None:
        while True:
            self._too_many.clear()
            await self._too_many.wait()
            while self._pending.waiting > self._spool_above // 2:
                await self._files.retry(self._spool_oldest)

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


class Replay:
    """Commits the lines of the spool to the database. `run` is a task.

    It loses nothing if it is cancelled: a line is deleted from the spool only when it is committed.

    Args:
        insert: commits lines, some of which it may have committed before.
        database, files: the outages of the two.
    """

    def __init__(
        self, spool: Spool, insert: Callable[[Sequence[bytes]], Awaitable[None]], database: "Outage", files: "Outage"
    ) -> None:
        self._spool, self._insert = spool, insert
        self._database, self._files = database, files

    async def run(self) -> None:
        while True:
            await self._spool.filled.wait()
            rows = await self._files.retry(lambda: self._spool.oldest(BATCH))
            await self._replay(rows)

    async def _replay(self, rows: Sequence[tuple[int, bytes]]) -> None:
        lines, ids = [line for _, line in rows], [row_id for row_id, _ in rows]
        if lines:  # none, where another process was faster
            await self._database.retry(lambda: self._insert(lines))
        await self._files.retry(lambda: self._spool.delete(ids))


class Inserter:
    """Commits lines to the database. Lines that it will never take are quarantined in the spool for an operator."""

    def __init__(self, database: LedgerDatabase, spool: Spool) -> None:
        self._database, self._spool = database, spool
        self._turn = asyncio.Lock()

    async def insert(self, lines: Sequence[bytes]) -> None:
        """Returns when every line is committed or quarantined. Raises any other error of the database."""
        async with self._turn:
            await self._insert(lines)

    async def _insert(self, lines: Sequence[bytes]) -> None:
        try:
            await self._database.insert(lines)
        except LinesRefused as error:
            if len(lines) == 1:
                logger.error("the ledger's database refuses a record, which is quarantined in the spool: %s", error)
                await self._spool.quarantine(lines[0], str(error))
                return
            middle = len(lines) // 2  # the lines at fault are found by bisection
            await self._insert(lines[:middle])
            await self._insert(lines[middle:])


class Pending:
    """A queue in memory whose lines are in the journal too. For one thread.

    Attributes:
        journal: None until it is open; earlier lines are not in it.
        unjournaled: the number of lines that are not in the journal, because it was full or not open.
    """

    def __init__(self) -> None:
        self.journal: Journal | None = None
        self.unjournaled = 0
        self._lines: deque[Line] = deque()
        self._taken = 0

    def __len__(self) -> int:
        """The lines that wait and those that are being committed."""
        return len(self._lines) + self._taken

    @property
    def waiting(self) -> int:
        """The number of lines that are not being committed."""
        return len(self._lines)

    def add(self, line: bytes) -> None:
        segment = self.journal.append(line) if self.journal is not None else None
        if segment is None:
            self.unjournaled += 1
        self._lines.append((line, segment))

    def take(self, number: int) -> list[Line]:
        """The oldest lines, at most `number`. The caller passes them to `put_back` or `done`."""
        lines = self._lines
        taken = [lines.popleft() for _ in range(min(number, len(lines)))]
        self._taken += len(taken)
        return taken

    def put_back(self, lines: list[Line]) -> None:
        """Lines that could not be committed become the oldest again."""
        self._taken -= len(lines)
        self._lines.extendleft(reversed(lines))

    def done(self, lines: Collection[Line]) -> None:
        """Lines that are committed free their space in the journal."""
        self._taken -= len(lines)
        for segment, number in Counter([segment for _, segment in lines]).items():
            if segment is not None:
                segment.release(number)


class Outage:
    """The outage of a database or a file: logged when it begins, once a minute, and when it ends.

    Args:
        what: its name in the log.
        first, longest: seconds to wait after the first failure; doubled after each further one, up to `longest`.
        clock: monotonic seconds.
    """

    def __init__(self, what: str, first: float, longest: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._first, self._longest = first, longest
        self._clock = clock
        self._wait = first
        self._log_at: float | None = None

    async def retry(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, retried until it succeeds."""
        while True:
            try:
                result = await work()
            except Exception as error:
                await asyncio.sleep(self.failed(error))
            else:
                self.recovered()
                return result

    def failed(self, error: Exception) -> float:
        """Logs a failure, at most once a minute. Returns the seconds to wait before the next attempt."""
        now = self._clock()
        if self._log_at is None or now >= self._log_at:
            logger.error("%s cannot be written, and records wait: %s", self._what, reason_of(error))
            self._log_at = now + LOG_SECONDS
        wait = self._wait
        self._wait = min(2 * wait, self._longest)
        return wait

    def recovered(self) -> None:
        """To be called after each success."""
        if self._log_at is not None:
            logger.warning("%s can be written again", self._what)
        self._log_at, self._wait = None, self._first
