"""Rows: states of limits as they stand in the file, a row for each limit and for each reservation that is live."""

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec

from crplugins.limits.arithmetic import window_end
from crplugins.limits.limit import Limit
from crplugins.limits.sqlite_statements import delete, select, size_of, upsert
from crplugins.limits.states import Holders, States

T = TypeVar("T")

_MOST: Final = 512
"""Rows of one statement."""

_RESERVATION: Final = "reservation "
"""Before the id of a reservation. No key of a limit begins like this."""

_LARGEST: Final = 2**63 - 1
"""SQLite holds no larger number. A provider may report any use; it must not cost the other calls their transaction."""

_METER: Final = struct.Struct(">dd")
_HOLDERS: Final = msgspec.json.Decoder(dict[str, int])

Row = tuple[str, Any, float]
"""Key, value, and when it has no effect any more."""


class Rows:
    """The states some calls need: read from the file, changed by the calls, written back where they have changed."""

    def __init__(self, connection: sqlite3.Connection, limits: Iterable[Limit], reservations: Iterable[str]) -> None:
        self._connection: Final = connection
        self._limits: Final = {limit.key: limit for limit in limits}
        self._reservations: Final = {_RESERVATION + each: each for each in reservations}
        self._before: Final[dict[str, Any]] = {}

    def load(self) -> States:
        for keys in _chunks([*self._limits, *self._reservations]):
            size = size_of(len(keys))
            values = self._connection.execute(select(size), _padded(keys, size)).fetchone()
            self._before.update(zip(keys, values, strict=False))
        states = States()
        for key, value in self._before.items():
            if value is not None:
                self._put(states, key, value)
        return states

    def save(self, states: States) -> int:
        """How many rows have changed."""
        before = self._before
        changed = [row for row in self._rows(states) if row[1] != before[row[0]]]
        gone = [
            key for key, each in self._reservations.items() if before[key] is not None and each not in states.reserved
        ]
        for rows in _chunks(changed):
            size = size_of(len(rows))
            self._connection.execute(upsert(size), _padded([field for row in rows for field in row], 3 * size))
        for keys in _chunks(gone):
            size = size_of(len(keys))
            self._connection.execute(delete(size), _padded(keys, size))
        return len(changed) + len(gone)

    def _put(self, states: States, key: str, value: Any) -> None:
        limit = self._limits.get(key)
        if limit is None:
            states.reserved[self._reservations[key]] = value
        elif limit.kind == "meter":
            states.meters.states[key] = (*_METER.unpack(value), limit)
        elif limit.kind == "window":
            states.windows.states[key] = value, window_end(limit)
        else:
            states.leases.states[key] = Holders(_HOLDERS.decode(value))

    def _rows(self, states: States) -> Iterator[Row]:
        meters, windows, leases = states.meters, states.windows, states.leases
        for key, (kind, *_) in self._limits.items():
            if kind == "meter" and key in meters.states:
                yield key, _METER.pack(*meters.states[key][:2]), meters.end(key)
            elif kind == "window" and key in windows.states:
                used, end = windows.states[key]
                yield key, min(used, _LARGEST), end
            elif key in leases.states:
                yield key, msgspec.json.encode(leases.states[key].ends), leases.end(key)
        for key, each in self._reservations.items():
            if each in states.reserved:
                yield key, states.reserved[each], states.reserved[each]


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), _MOST):
        yield items[first : first + _MOST]


def _padded(values: Sequence[Any], size: int) -> list[Any]:
    return [*values, *[None] * (size - len(values))]
