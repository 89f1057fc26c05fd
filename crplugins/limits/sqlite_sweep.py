"""Sweep: rows that have no effect any more are deleted, a part of the table at a time."""

import sqlite3
from typing import Final

from crplugins.limits.sqlite_statements import DELETE_ENDED, LAST_OF_NEXT

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
        (last,) = self._connection.execute(LAST_OF_NEXT, (self._reached, _PART)).fetchone()
        if last is not None:
            self._connection.execute(DELETE_ENDED, (self._reached, last, now))
        self._reached = last or ""
