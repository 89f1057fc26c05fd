"""The values of a line's row in SQLite's `usage`, which are those that `SQLITE_ROWS` reads.

SQLite would read the JSON itself, but looks through the whole line for each column: a third of what an insert takes.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from crplugins.ledger.inserts import COLUMNS, TOKENS

_Tokens: Final = msgspec.defstruct("_Tokens", [(name, Any, None) for name in TOKENS])
_Line: Final = msgspec.defstruct(
    "_Line",
    [
        ("started_at", float),
        ("ended_at", float),
        ("tags", msgspec.Raw),
        ("usage", _Tokens),
        *((name, Any, None) for name in COLUMNS if name not in (*TOKENS, "started_at", "ended_at", "tags")),
    ],
)
_decode: Final = msgspec.json.Decoder(_Line).decode
_values: Final = attrgetter(*(f"usage.{name}" if name in TOKENS else name for name in COLUMNS))


def rows_of(lines: Iterable[bytes]) -> list[tuple[Any, ...]]:
    """The values of each line, in the order of COLUMNS. Raises ValueError for what is no line of ours.

    `msgspec.DecodeError` is one.
    """
    try:
        return [_values_of(line) for line in lines]
    finally:
        _second.cache_clear()  # what it would keep lies among all that the requests of a burst have left


def _values_of(line: bytes) -> tuple[Any, ...]:
    row: Any = _decode(line)
    row.started_at, row.ended_at = _moment(row.started_at), _moment(row.ended_at)
    row.tags = bytes(row.tags).decode()
    values: tuple[Any, ...] = _values(row)
    return values


def _moment(seconds: float) -> str:
    """The text of SQLAlchemy's DateTime, to the microsecond. Such texts sort by time."""
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1_000_000):06d}"


@lru_cache(8)  # the lines of a batch are of one second, or of two
def _second(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError) as error:
        raise ValueError(f"{seconds} seconds since 1970 are no moment") from error
