"""SpentReader: what has been spent before, from the database of a ledger that somebody else writes."""

from datetime import datetime
from types import TracebackType
from typing import Literal, Self


class SpentReader:
    """A resource of the PluginMiddleware whose budgets ask it. Raises ImportError without the `sql` extra."""

    def __init__(self, url: str) -> None:
        from crplugins.ledger.database import LedgerDatabase  # sqlalchemy, needed only here

        self._database = LedgerDatabase(url, migrate=False)

    async def spent(self, scope: Literal["key", "team"], name: str, since: datetime) -> int:
        """As `Ledger.spent`."""
        from crplugins.ledger.report import spent

        async with self._database.reading() as connection:
            return await spent(connection, scope, name, since)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.close()
