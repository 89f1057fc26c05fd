"""Replay: brings what waits in the spool into the database, whenever that works."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from crplugins.ledger.outage import Outage
from crplugins.ledger.spool import Spool

BATCH: Final = 200


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
            try:
                await self._replay_oldest()
            except (sqlite3.Error, OSError) as error:
                await asyncio.sleep(self._files.failed(error))
            except Exception as error:
                await asyncio.sleep(self._database.failed(error))

    async def _replay_oldest(self) -> None:
        rows = await self._spool.oldest(BATCH)
        if rows:
            await self._insert([line for _, line in rows])
            self._database.ended()
        await self._spool.forget([row_id for row_id, _ in rows])
        self._files.ended()
