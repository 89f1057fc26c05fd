"""Spool: the spool file as code on the event loop uses it, with a thread of its own."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from crplugins.ledger.dead_journals import adopt_dead_journals
from crplugins.ledger.journal import Journal
from crplugins.ledger.spool_file import SpoolFile

T = TypeVar("T")


class Spool:
    """Lines that wait on disk for the database, and the journals beside them. Methods raise `sqlite3.Error`, OSError.

    Attributes:
        count: how many lines wait, as far as this process has seen.
        filled: set while some do.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.filled: Final = asyncio.Event()
        self._count = 0
        self._file = SpoolFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="crplugins-spool")

    @property
    def count(self) -> int:
        return self._count

    async def open(self) -> Journal:
        """A journal for this process. What dead ones have left is in the spool then."""
        journal, count = await self._run(self._open)
        self._set_count(count)
        return journal

    async def keep(self, lines: Sequence[bytes]) -> None:
        """They are on disk when it returns."""
        self._set_count(await self._run(lambda: self._file.keep(lines)))

    async def oldest(self, number: int) -> list[tuple[int, bytes]]:
        return await self._run(lambda: self._file.oldest(number))

    async def forget(self, ids: Sequence[int]) -> None:
        self._set_count(await self._run(lambda: self._file.forget(ids)))

    async def refuse(self, line: bytes, reason: str) -> None:
        await self._run(lambda: self._file.refuse(line, reason))

    async def close(self, journal: Journal) -> None:
        """Also the journal, which stays if there are lines in it that are nowhere else."""
        await self._run(lambda: self._close(journal))
        self._thread.shutdown(wait=False)

    def _set_count(self, count: int) -> None:
        self._count = count
        if count:
            self.filled.set()
        else:
            self.filled.clear()

    def _open(self) -> tuple[Journal, int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        journal = Journal.create(self.path)
        try:
            adopt_dead_journals(self.path, self._file.keep)
            return journal, self._file.count()
        except BaseException:
            journal.close()
            raise

    def _close(self, journal: Journal) -> None:
        journal.close()
        self._file.close()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
