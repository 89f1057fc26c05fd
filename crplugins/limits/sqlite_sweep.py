"""Sweep: rows that have no effect any more are deleted, a part of the table at a time."""

import sqlite3
from typing import Final

from crplugins.limits.sqlite_statements import DELETE_ENDED, NEXT_PART

_EVERY: Final = 500
"""Rows written between two parts."""

_PART: Final = 2 * _EVERY
"""Rows looked at: more than have been added, so that the table stays below twice what is in use."""


class Sweep:
    """Goes round the table in the order of its keys. No index by end, which every write would have to keep up."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: Final = connection
        self._written = 0
        self._reached = ""

    def after(self, written: int, now: int) -> None:
        """To be called in each transaction, with how many rows it has written."""
        self._written += written
        if self._written >= _EVERY:
            self._written = 0
            self._next_part(now)

    def _next_part(self, now: int) -> None:
        looked_at, last = self._connection.execute(NEXT_PART, (self._reached, _PART)).fetchone()
        self._connection.execute(DELETE_ENDED, (self._reached, last, now))
        # At the end it turns back at once. Ids of requests rise: it would only follow those that are added there.
        self._reached = last if looked_at == _PART else ""
