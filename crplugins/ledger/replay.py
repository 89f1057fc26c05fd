"""Replay: brings what waits in the spool into the database, whenever that works."""

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
            rows = await self._files.outlast(lambda: self._spool.oldest(BATCH))
            await self._replay(rows)

    async def _replay(self, rows: Sequence[tuple[int, bytes]]) -> None:
        lines, ids = [line for _, line in rows], [row_id for row_id, _ in rows]
        if lines:  # none, where another process was faster
            await self._database.outlast(lambda: self._insert(lines))
        await self._files.outlast(lambda: self._spool.forget(ids))
