"""Writer: brings pending lines into the database.

A batch is what has come while the one before was committed. While the database fails, lines stay pending; those beyond
what the journal holds with ease go to the spool, oldest first, and come back from there when it works again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

from crplugins.ledger.database import LedgerDatabase, LinesRefused, reason_of
from crplugins.ledger.journal import Journal, Segment
from crplugins.ledger.spool import Spool

Line = tuple[bytes, Segment | None]
"""A line of JSON, and where in the journal it is; None for nowhere."""


class Pending:
    """A queue in memory, each of whose lines is in the journal too. For one thread.

    Attributes:
        journal: None until it is open; lines from before are not in it.
        unjournaled: how many lines were not, because it was full or not there.
    """

    def __init__(self) -> None:
        self.journal: Journal | None = None
        self.unjournaled = 0
        self._lines: deque[Line] = deque()
        self._taken = 0

    def __len__(self) -> int:
        """Those that are being committed included."""
        return len(self._lines) + self._taken

    @property
    def waiting(self) -> int:
        """Those that nobody has taken."""
        return len(self._lines)

    def add(self, line: bytes) -> None:
        segment = self.journal.append(line) if self.journal is not None else None
        if segment is None:
            self.unjournaled += 1
        self._lines.append((line, segment))

    def take(self, number: int) -> list[Line]:
        """The oldest, `number` at most. They are to be put back or done with."""
        lines = self._lines
        taken = [lines.popleft() for _ in range(min(number, len(lines)))]
        self._taken += len(taken)
        return taken

    def put_back(self, lines: list[Line]) -> None:
        """They could not be committed, and are the oldest again."""
        self._taken -= len(lines)
        self._lines.extendleft(reversed(lines))

    def done(self, lines: Iterable[Line]) -> None:
        """They are committed, and their space in the journal is free."""
        for _, segment in lines:
            self._taken -= 1
            if segment is not None:
                segment.release()


LOG_SECONDS: Final = 60.0

T = TypeVar("T")

logger = logging.getLogger("crplugins.ledger")


class Outage:
    """Of something that either works or does not: logged when it begins, each minute, and when it ends.

    Args:
        what: its name in the log.
        first, longest: seconds to wait after the first failure and, doubling, at most.
        clock: monotonic seconds.
    """

    def __init__(self, what: str, first: float, longest: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._first, self._longest = first, longest
        self._clock = clock
        self._wait = first
        self._speak_at: float | None = None

    async def outlast(self, work: Callable[[], Awaitable[T]]) -> T:
        """Again and again, until it works."""
        while True:
            try:
                result = await work()
            except Exception as error:
                await asyncio.sleep(self.failed(error))
            else:
                self.ended()
                return result

    def failed(self, error: Exception) -> float:
        """The seconds to wait before the next attempt."""
        now = self._clock()
        if self._speak_at is None or now >= self._speak_at:
            logger.error("%s cannot be written, and records wait: %s", self._what, reason_of(error))
            self._speak_at = now + LOG_SECONDS
        wait = self._wait
        self._wait = min(2 * wait, self._longest)
        return wait

    def ended(self) -> None:
        """It works."""
        if self._speak_at is not None:
            logger.warning("%s can be written again", self._what)
        self._speak_at, self._wait = None, self._first


BATCH: Final = 200
SPOOL_BATCH: Final = 1000
SPOOL_ABOVE: Final = 5_000
"""Pending lines. Less than the journal holds, so that it has room while the spool is written."""

PAUSE: Final = 0.05
"""Seconds after a commit of less than a batch. It takes 1 ms of the event loop, however few lines it has."""

Commit = Callable[[Sequence[bytes]], Awaitable[None]]


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


class Replay:
    """`run` is a task. Cancelled anywhere, it has lost nothing: a line is forgotten when it is committed.

    Args:
        insert: commits lines, of which it may have seen some before.
        database, files: how the two fare.
    """

    def __init__(
        self, spool: Spool, insert: Callable[[Sequence[bytes]], Awaitable[None]], database: Outage, files: Outage
    ) -> None:
        self._spool, self._insert = spool, insert
        self._database, self._files = database, files

    async def run(self) -> None:
        while True:
            await self._spool.filled.wait()
            rows = await self._files.outlast(lambda: self._spool.oldest(BATCH))
            await self._replay(rows)

    async def _replay(self, rows: Sequence[tuple[int, bytes]]) -> None:
        lines, ids = [line for _, line in rows], [row_id for row_id, _ in rows]
        if lines:  # none, where another process was faster
            await self._database.outlast(lambda: self._insert(lines))
        await self._files.outlast(lambda: self._spool.forget(ids))


class Inserter:
    """What the database will never take is put aside in the spool, for a person to look at."""

    def __init__(self, database: LedgerDatabase, spool: Spool) -> None:
        self._database, self._spool = database, spool
        self._turn = asyncio.Lock()

    async def insert(self, lines: Sequence[bytes]) -> None:
        """Returns when every line is committed. Raises whatever the database does."""
        async with self._turn:
            await self._insert(lines)

    async def _insert(self, lines: Sequence[bytes]) -> None:
        try:
            await self._database.insert(lines)
        except LinesRefused as error:
            if len(lines) == 1:
                logger.error("a record is refused by the ledger's database, and put aside in the spool: %s", error)
                await self._spool.refuse(lines[0], str(error))
                return
            middle = len(lines) // 2  # found by halves
            await self._insert(lines[:middle])
            await self._insert(lines[middle:])
