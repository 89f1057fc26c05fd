"""The file in which the workers of one machine share the states of limits."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from crplugins.limits.sqlite_statements import CREATE, PROBE

PATIENCE: Final = 5.0
"""Seconds that opening waits for other processes that open the file too."""

_PAUSE: Final = 0.02

_PREPARE: Final = (
    "PRAGMA journal_mode=WAL",
    # A crash of the machine may cost what is in the file. What is used of a limit by then is not worth an fsync.
    "PRAGMA synchronous=OFF",
    CREATE,
    PROBE,
)


class LimitFileError(Exception):
    """The file cannot be used at all. The text says which and why."""


def open_limit_file(path: Path) -> sqlite3.Connection:
    """A connection for one thread that waits for no lock. A new file is for its owner only.

    Raises `LimitFileError`.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # WAL and index get the same mode
        # Without a transaction of its own: there are none but ours.
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=True)
    except OSError as error:
        raise LimitFileError(f"the file of limits {path} cannot be opened: {error.strerror}") from error
    except sqlite3.Error as error:
        raise LimitFileError(f"the file of limits {path} cannot be opened: {error}") from error
    try:
        _prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        raise LimitFileError(_problem(path, error)) from error
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has the lock, which is nothing wrong."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _prepare(connection: sqlite3.Connection) -> None:
    """Several processes may be at it at once, and SQLite itself waits for none of them on its way to WAL."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            for statement in _PREPARE:
                connection.execute(statement).fetchall()
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _problem(path: Path, error: sqlite3.Error) -> str:
    if is_busy(error):
        return f"the file of limits {path} is locked by another program"
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return f"the file of limits {path} is damaged or no SQLite database; move it away and a new one is made"
    return f"the file of limits {path} cannot be used: {error}"
