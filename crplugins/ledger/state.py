"""LedgerState: what metrics and health checks read off a ledger."""

from typing import Protocol


class LedgerState(Protocol):
    """Numbers of records, at any moment and at no cost."""

    @property
    def pending(self) -> int:
        """In memory and in the journal, not yet committed anywhere."""

    @property
    def spooled(self) -> int:
        """In the spool, on their way to the database. Processes that share a spool all report the whole of it."""

    @property
    def dropped(self) -> int:
        """Lost since the start, because database, spool and queue were all full or gone."""
