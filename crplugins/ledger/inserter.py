"""Inserter: lines into the database, one transaction at a time, and no line that keeps others out."""

import asyncio
import logging
from collections.abc import Sequence

from crplugins.ledger.database import LedgerDatabase, LinesRefused
from crplugins.ledger.spool import Spool

logger = logging.getLogger("crplugins.ledger")


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
