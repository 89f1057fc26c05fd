"""Exports the rows of the ledger, a file for each day (UTC), as CSV or Parquet.

A file appears under its name when it is whole: until then it is written beside it. So a file that is there is complete,
and an export that was interrupted goes on with the days that are missing.
"""

import csv
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol, TextIO

from crplugins.ledger.inserts import COLUMNS, MOMENTS
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.rows import EVERY_COLUMN, Row, read_rows

Format = Literal["csv", "parquet"]

SETTLED: Final = timedelta(hours=1)
"""A request is recorded when it is over. So long after the end of a day all that began in it are."""

_DAY: Final = timedelta(days=1)


class ExportUnwritable(Exception):
    """A file that cannot be written, and why. No OSError, as those of the ledger's database are."""


class ExportedDay(NamedTuple):
    """`rows` is None where the file was there already."""

    day: date
    file: Path
    rows: int | None


class RowFile(Protocol):
    """A file that rows are written to."""

    def write(self, rows: Sequence[Row]) -> None: ...

    def finish(self, path: Path) -> None:
        """Complete it at this path."""


async def export_days(
    reader: LedgerReader, first: date, end: date, directory: Path, kind: Format
) -> AsyncIterator[ExportedDay]:
    """Each day from `first` to before `end`. Memory is bounded, whatever a day has.

    Raises the errors of `LedgerDatabase.fetch`, `ExportUnwritable`, and ImportError for Parquet without its package.
    """
    day = first
    while day < end:
        file = directory / f"usage-{day.isoformat()}.{kind}"
        if file.exists():
            yield ExportedDay(day, file, None)
        else:
            begin, number = datetime.combine(day, time(), UTC), 0
            with _written(file, kind) as written:
                async for rows in read_rows(reader, EVERY_COLUMN, begin, begin + _DAY):
                    with _writing(file):
                        written.write(rows)
                    number += len(rows)
            yield ExportedDay(day, file, number)
        day += _DAY


async def first_day(reader: LedgerReader) -> date | None:
    """Of which there are rows; None if there are none."""
    found = await reader.ask(lambda _: ("SELECT min(started_at) FROM usage", {}))
    earliest = found[0][0]
    if earliest is None:
        return None
    moment = datetime.fromisoformat(earliest) if isinstance(earliest, str) else earliest
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()


def last_whole_day(now: datetime) -> date:
    """The day after the last one that is over and recorded."""
    return (now - SETTLED).astimezone(UTC).date()


@contextmanager
def _written(file: Path, kind: Format) -> Iterator[RowFile]:
    """Makes the file, on the disk, when everything is written; nothing stays of one that fails."""
    part = file.with_name(f".{file.name}.part")
    with _writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = part.open("w", encoding="utf-8", newline="")
    try:
        rows = _MAKERS[kind](opened)
        yield rows
        with _writing(file):
            opened.flush()
            rows.finish(part)
            opened.close()
            descriptor = os.open(part, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            part.replace(file)
    finally:
        with suppress(OSError):  # a full disk says so once more
            opened.close()
        part.unlink(missing_ok=True)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportUnwritable(f"{file} cannot be written: {error.strerror or error}") from error


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class CsvFile:
    """A header, then a line for each request (RFC 4180, with line feeds). Null is empty, times are ISO 8601 in UTC."""

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(EVERY_COLUMN)

    def write(self, rows: Sequence[Row]) -> None:
        self._writer.writerows([_text(v) if isinstance(v, datetime) else v for v in row] for row in rows)

    def finish(self, path: Path) -> None:
        """It is complete."""


_DUCKDB_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{name: {"jsonb": "VARCHAR", "text": "VARCHAR"}.get(kind, kind.upper()) for name, kind in COLUMNS.items()},
        **dict.fromkeys(MOMENTS, "TIMESTAMPTZ"),
    }
)


class ParquetFile:
    """Lines of JSON first, which DuckDB then makes a Parquet file of: it reads and writes a part at a time."""

    def __init__(self, file: TextIO) -> None:
        import duckdb  # noqa: F401  # raises ImportError before anything is read

        self._file = file

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            line = {name: _text(v) if isinstance(v, datetime) else v for name, v in zip(EVERY_COLUMN, row, strict=True)}
            self._file.write(json.dumps(line) + "\n")

    def finish(self, path: Path) -> None:
        import duckdb

        columns = ", ".join(f"'{name}': '{_DUCKDB_TYPES[name]}'" for name in EVERY_COLUMN)
        lines = path.with_name(f"{path.name}.lines")
        path.replace(lines)
        try:
            with duckdb.connect(config={"threads": 1}) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute(
                    f"COPY (SELECT * FROM read_json(?, format = 'newline_delimited', columns = {{{columns}}})) "  # noqa: S608
                    "TO ? (FORMAT parquet, COMPRESSION zstd)",
                    [str(lines), str(path)],
                )
        finally:
            lines.unlink(missing_ok=True)


_MAKERS: Final[Mapping[Format, Callable[[TextIO], RowFile]]] = {"csv": CsvFile, "parquet": ParquetFile}
