"""LedgerReader: reads the database, and with it the records on this machine that are not in it yet.

Records are committed once a second. Until then they stand in the journal of their process, or, where the database has
been away, in the spool. A statement of a report takes them as a parameter and leaves out those that it finds in the
table too, so that it counts each once, whichever process commits what meanwhile.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.errors import reason_of
from crplugins.ledger.inserts import POSTGRESQL_ROWS, SQLITE_ROWS
from crplugins.ledger.waiting import Waiting, read_waiting
from crplugins.sql.url import Backend

logger = logging.getLogger("crplugins.ledger")

_ROWS: Final = {"sqlite": SQLITE_ROWS, "postgresql": POSTGRESQL_ROWS}

Statement = Callable[[str | None], tuple[str, Mapping[str, Any]]]
"""A SELECT and its values, given the records that are not in `usage` as a table like it; None if there are none."""


class LedgerReader:
    """Does not migrate: the tables are those that a gateway has made.

    Args:
        spool: the spool's file; journals are beside it.

    Attributes:
        uncounted: how many records of the spool the last question has left out, because there are so many.
    """

    def __init__(self, database: LedgerDatabase, spool: Path) -> None:
        self._database, self._spool = database, spool
        self.uncounted = 0

    @property
    def backend(self) -> Backend:
        return self._database.backend

    async def ask(self, statement: Statement) -> list[tuple[Any, ...]]:
        """The rows. Raises the errors of `LedgerDatabase.fetch`.

        What waits is read first: a record that is committed meanwhile is seen twice, and counted once.
        """
        waiting = await asyncio.to_thread(self._waiting)
        self.uncounted = waiting.more
        if not waiting.lines:
            return await self._database.fetch(*statement(None))
        text, values = statement(_not_in_the_table(_ROWS[self.backend]))
        lines = b"[" + b",".join(waiting.lines) + b"]"
        return await self._database.fetch(text, {**values, "lines": lines.decode()})

    def _waiting(self) -> Waiting:
        """The records that are not in the database yet. None where they cannot be read, which is logged."""
        try:
            return read_waiting(self._spool)
        except (OSError, sqlite3.Error) as error:
            logger.warning("records that wait beside %s are not counted: %s", self._spool, reason_of(error))
            return Waiting()


def _not_in_the_table(rows: str) -> str:
    """A record that is sent again has its moment again, which tells PostgreSQL the month to look in."""
    known = "SELECT 1 FROM usage WHERE usage.request_id = waiting.request_id AND usage.started_at = waiting.started_at"
    return f"(SELECT * FROM ({rows}) AS waiting WHERE NOT EXISTS ({known})) AS usage_waiting"  # noqa: S608
