"""The file in which the workers of one machine share the states of limits."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from crplugins.limits.sqlite_statements import CREATE, PROBE

_PAUSE: Final = 0.02
"""Seconds between two tries to open it."""

_PREPARE: Final = (
    "PRAGMA journal_mode = WAL",
    # A crash of the machine may cost what is in the file: what is used of a limit by then is not worth an fsync.
    "PRAGMA synchronous = OFF",
    CREATE,
    PROBE,
)


class LimitFileError(Exception):
    """The file cannot be used. The text says which, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the file of limits {path} {reason}")
        self.reason: Final = reason


def open_limit_file(path: Path, patience: float) -> sqlite3.Connection:
    """A connection that waits for no lock, for the thread that has called. A new file is for its owner only.

    Waits `patience` seconds for other processes. Raises `LimitFileError`.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # what SQLite puts beside it gets the same mode
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)  # no transactions but those we begin
    except (OSError, sqlite3.Error) as error:
        raise LimitFileError(path, f"cannot be opened: {getattr(error, 'strerror', error)}") from error
    try:
        _prepare(connection, time.monotonic() + patience)
    except sqlite3.Error as error:
        connection.close()
        raise LimitFileError(path, _reason(error)) from error
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has the lock, which is nothing wrong."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _prepare(connection: sqlite3.Connection, deadline: float) -> None:
    """Several processes may be at it at once, and SQLite by itself waits for none of them on its way to WAL."""
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


def _reason(error: sqlite3.Error) -> str:
    if is_busy(error):
        return "is locked by another process"
    if _code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "is damaged, or no file of limits at all: move it away, and a new one is made"
    return f"cannot be used: {error}"


def _code(error: sqlite3.Error) -> int:
    """Without the bits that tell more."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
