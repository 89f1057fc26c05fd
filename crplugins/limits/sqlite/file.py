"""The SQLite file in which the workers of one machine share the states of limits.

`open_limit_file` opens it, or creates it with its one table. A transaction then reads the states that some calls need
into a `LimitTable` and writes back what has changed (`Rows`), and now and then deletes expired rows (`Sweep`).

Each SQL statement deals with many rows: Python releases its lock for each step of SQLite, and under load waits to get
it again. The statements come in a few sizes, padded with NULL, so that each is prepared once.
"""

import errno
import os
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from crplugins.limits.arithmetic import MeterState, window_expiry
from crplugins.limits.limit import Limit
from crplugins.limits.store import LEASE_MILLISECONDS
from crplugins.limits.table import Holders, LimitTable

T = TypeVar("T")

_TABLE: Final = "limit_state"

_CREATE: Final = f"CREATE TABLE IF NOT EXISTS {_TABLE} (key TEXT PRIMARY KEY, value, ends REAL NOT NULL) WITHOUT ROWID"
"""`value` is of a meter its state without the limit, five doubles; of a window how much is used; of leases a JSON
object, as text, of when they expire by holder; of a reservation when it expires. `ends` is when the row expires: after
that it has no effect. Times are milliseconds since 1970, but of leases and reservations since the machine's start."""

_RESERVATION: Final = "reservation "
"""Before the id of a reservation. No key of a limit begins like this."""

_OF_LEASES: Final = f"(typeof(value) = 'text' OR substr(key, 1, {len(_RESERVATION)}) = '{_RESERVATION}')"
_OF_ANOTHER_START: Final = f"DELETE FROM {_TABLE} WHERE ends > ? AND {_OF_LEASES}"  # noqa: S608
_LATER: Final = LEASE_MILLISECONDS + 10_000
"""How far from now the end of a lease is at most, and of one that another process is just taking: what ends later has
been taken before the machine was started again, when its clock stood higher, and nobody holds it."""

_PROBE: Final = f"SELECT key, value, ends FROM {_TABLE} LIMIT 1"  # noqa: S608  # nothing here comes from outside

_PREPARE: Final = (
    "PRAGMA journal_mode = WAL",
    # A crash of the machine may lose the file's last changes: what is used of a limit by then is not worth an fsync.
    "PRAGMA synchronous = OFF",
    _CREATE,
    _PROBE,
)

_PAUSE: Final = 0.02
"""Seconds between two attempts to open the file."""


class LimitFileError(Exception):
    """The file cannot be used. The text says which, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the limit store {path} {reason}")
        self.reason: Final = reason


def open_limit_file(path: Path, patience: float, steady: int) -> sqlite3.Connection:
    """A connection that waits for no lock, for the thread that has called. Only its owner may read a new file.

    Waits `patience` seconds for other processes. `steady` is the time by the clock of leases. Raises `LimitFileError`.
    """
    try:
        _make(path)
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)  # no transactions but those we begin
    except (OSError, sqlite3.Error) as error:
        raise LimitFileError(path, f"cannot be opened: {getattr(error, 'strerror', error)}") from error
    try:
        _prepare(connection, time.monotonic() + patience, steady)
    except sqlite3.Error as error:
        connection.close()
        raise LimitFileError(path, _reason(error)) from error
    return connection


def _make(path: Path) -> None:
    """What SQLite puts beside the file gets the same mode. Raises OSError.

    One that is there is not opened: this process may have it open already, and would let go of all its locks on it
    when this is closed (POSIX).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has the lock, which is no fault."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _prepare(connection: sqlite3.Connection, deadline: float, steady: int) -> None:
    """Several processes may do this at once, and SQLite by itself waits for none of them while it switches to WAL."""
    while True:
        try:
            for statement in _PREPARE:
                connection.execute(statement).fetchall()
            connection.execute(_OF_ANOTHER_START, (steady + _LATER,))
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
        return "is damaged or no limit store at all: move it away, and a new one is created"
    return f"cannot be used: {error}"


def _code(error: sqlite3.Error) -> int:
    """The primary result code, without the bits of the extended one."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


_MOST: Final = 512
"""Rows of one statement."""

_LARGEST: Final = 2**63 - 1
"""SQLite holds no larger number. A provider may report any use; it must not cost the other calls their transaction."""

_METER: Final = struct.Struct(">ddddd")
_METER_WITHOUT_RECENT: Final = struct.Struct(">dd")
"""Of a file that an older version has written."""
_HOLDERS: Final = msgspec.json.Decoder(dict[str, int])

Row = tuple[str, Any, float]
"""Key, value and expiry."""


class Rows:
    """The states that some calls need: read from the file, changed by the calls, written back if they have changed."""

    def __init__(self, connection: sqlite3.Connection, limits: Iterable[Limit], reservations: Iterable[str]) -> None:
        self._connection: Final = connection
        self._limits: Final = {limit.key: limit for limit in limits}
        self._reservations: Final = {_RESERVATION + each: each for each in reservations}
        self._before: Final[dict[str, Any]] = {}

    def load(self) -> LimitTable:
        for keys in _chunks([*self._limits, *self._reservations]):
            size = _size_for(len(keys))
            values = self._connection.execute(_select(size), _padded(keys, size)).fetchone()
            self._before.update(zip(keys, values, strict=False))
        table = LimitTable()
        for key, value in self._before.items():
            if value is not None:
                self._put(table, key, value)
        return table

    def save(self, table: LimitTable) -> int:
        """How many rows have changed."""
        before = self._before
        changed = [row for row in self._rows(table) if row[1] != before[row[0]]]
        removed = [
            key for key, each in self._reservations.items() if before[key] is not None and each not in table.reserved
        ]
        for rows in _chunks(changed):
            size = _size_for(len(rows))
            self._connection.execute(_upsert(size), _padded([field for row in rows for field in row], 3 * size))
        for keys in _chunks(removed):
            size = _size_for(len(keys))
            self._connection.execute(_delete(size), _padded(keys, size))
        return len(changed) + len(removed)

    def _put(self, table: LimitTable, key: str, value: Any) -> None:
        limit = self._limits.get(key)
        if limit is None:
            table.reserved[self._reservations[key]] = value
        elif limit.kind == "meter":
            table.meters.states[key] = _meter(value, limit)
        elif limit.kind == "window":
            table.windows.states[key] = value, window_expiry(limit)
        else:
            table.leases.states[key] = Holders(_HOLDERS.decode(value))

    def _rows(self, table: LimitTable) -> Iterator[Row]:
        meters, windows, leases = table.meters, table.windows, table.leases
        for key, limit in self._limits.items():
            if limit.kind == "meter" and key in meters.states:
                used, at, _, *recent = meters.states[key]
                yield key, _METER.pack(used, at, *recent), meters.expires_at(key)
            elif limit.kind == "window" and key in windows.states:
                used, expiry = windows.states[key]
                yield key, min(used, _LARGEST), expiry
            elif key in leases.states:
                yield key, msgspec.json.encode(leases.states[key].expiries).decode(), leases.expires_at(key)
        for key, each in self._reservations.items():
            if each in table.reserved:
                yield key, table.reserved[each], table.reserved[each]


def _meter(value: bytes, limit: Limit) -> MeterState:
    used, at, *recent = (_METER if len(value) == _METER.size else _METER_WITHOUT_RECENT).unpack(value)
    number, present, before = recent or (at // limit.period, 0.0, 0.0)
    return used, at, limit, number, present, before


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), _MOST):
        yield items[first : first + _MOST]


def _padded(values: Sequence[Any], size: int) -> list[Any]:
    return [*values, *[None] * (size - len(values))]


def _size_for(number: int) -> int:
    """The smallest size of a statement for so many rows: a power of two from 8."""
    return max(8, 1 << (number - 1).bit_length())


@cache
def _select(size: int) -> str:
    """One row with the value of each key; NULL where there is none."""
    return "SELECT " + ", ".join([f"(SELECT value FROM {_TABLE} WHERE key = ?)"] * size)  # noqa: S608


@cache
def _upsert(size: int) -> str:
    values = ", ".join(["(?, ?, ?)"] * size)
    return (
        f"INSERT INTO {_TABLE} SELECT column1, column2, column3 FROM (VALUES {values}) WHERE column1 IS NOT NULL "  # noqa: S608
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, ends = excluded.ends"
    )


@cache
def _delete(size: int) -> str:
    return f"DELETE FROM {_TABLE} WHERE key IN ({', '.join('?' * size)})"  # noqa: S608


_EVERY: Final = 500
"""Rows written between two parts of a sweep."""

_PART: Final = 2 * _EVERY
"""Rows of one part: more than have been added, so that the table stays below twice what is in use."""

_NEXT_PART: Final = f"SELECT count(*), max(key) FROM (SELECT key FROM {_TABLE} WHERE key > ? ORDER BY key LIMIT ?)"  # noqa: S608
_DELETE_EXPIRED: Final = (
    f"DELETE FROM {_TABLE} WHERE key > ? AND key <= ? AND "  # noqa: S608
    f"CASE WHEN {_OF_LEASES} THEN ends <= ? ELSE ends <= ? END"
)


class Sweep:
    """Deletes expired rows, part by part in the order of keys: every write would have to update an index by expiry."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: Final = connection
        self._written = 0
        self._reached = ""

    def after(self, written: int, now: int, steady: int) -> None:
        """To be called in each transaction, with how many rows it has written, and the time by both clocks."""
        self._written += written
        if self._written >= _EVERY:
            self._written = 0
            self._next_part(now, steady)

    def _next_part(self, now: int, steady: int) -> None:
        looked_at, last = self._connection.execute(_NEXT_PART, (self._reached, _PART)).fetchone()
        self._connection.execute(_DELETE_EXPIRED, (self._reached, last, steady, now))
        # At the end it starts again at once: ids of requests rise, and it would only follow the newest rows.
        self._reached = last if looked_at == _PART else ""
