"""SpentReader: what has been spent before, from the database of a ledger that somebody else writes."""

from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from crplugins.config.metering import LedgerSection


class SpentReader:
    """A resource of the PluginMiddleware whose budgets ask it. Raises ImportError without the `sql` extra."""

    def __init__(self, section: LedgerSection) -> None:
        from crplugins.ledger.database import LedgerDatabase  # needed only here, like those below
        from crplugins.ledger.ledger import spool_path
        from crplugins.ledger.reader import LedgerReader
        from crplugins.ledger.report import spent

        self._spent = spent
        self._database = LedgerDatabase(section.url, migrate=False)
        self._reader = LedgerReader(self._database, spool_path(self._database, section.spool))

    async def spent(self, scope: Literal["key", "team"], name: str, since: datetime) -> int:
        """As `Ledger.spent`."""
        return await self._spent(self._reader, scope, name, since)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.close()
