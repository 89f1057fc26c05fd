"""The statements for rows of states. Each deals with many rows: Python gives up its lock for each step of SQLite, and
under load waits for it again.

They come in a few sizes, padded with NULL, so that each is prepared once.
"""

from functools import cache
from typing import Final

TABLE: Final = "limit_state"

CREATE: Final = f"CREATE TABLE IF NOT EXISTS {TABLE} (key TEXT PRIMARY KEY, value, ends REAL NOT NULL) WITHOUT ROWID"
"""`value` is of a meter what was used of it and when, two doubles; of a window what is used of it; of leases a JSON
object of when they run out by holder; of a reservation when it runs out. After `ends` the row has no effect any more.
Moments are milliseconds since 1970."""

PROBE: Final = f"SELECT key, value, ends FROM {TABLE} LIMIT 1"  # noqa: S608  # nothing here comes from outside

NEXT_PART: Final = f"SELECT count(*), max(key) FROM (SELECT key FROM {TABLE} WHERE key > ? ORDER BY key LIMIT ?)"  # noqa: S608
DELETE_ENDED: Final = f"DELETE FROM {TABLE} WHERE key > ? AND key <= ? AND ends <= ?"  # noqa: S608


def size_of(number: int) -> int:
    """The smallest size of a statement for so many rows: a power of two from 8."""
    return max(8, 1 << (number - 1).bit_length())


@cache
def select(size: int) -> str:
    """One row with the value of each key; NULL where there is none."""
    return "SELECT " + ", ".join([f"(SELECT value FROM {TABLE} WHERE key = ?)"] * size)  # noqa: S608


@cache
def upsert(size: int) -> str:
    values = ", ".join(["(?, ?, ?)"] * size)
    return (
        f"INSERT INTO {TABLE} SELECT column1, column2, column3 FROM (VALUES {values}) WHERE column1 IS NOT NULL "  # noqa: S608
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, ends = excluded.ends"
    )


@cache
def delete(size: int) -> str:
    return f"DELETE FROM {TABLE} WHERE key IN ({', '.join('?' * size)})"  # noqa: S608
