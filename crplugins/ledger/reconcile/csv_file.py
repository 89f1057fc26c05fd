"""The lines of a CSV file, one at a time: four separators, UTF-8 or UTF-16, with a byte order mark or without."""

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from crplugins.ledger.reconcile.cells import Cells, DecimalMark, Unreadable
from crplugins.ledger.reconcile.layout import Layout

SEPARATORS: Final = (",", ";", "\t", "|")
LONGEST_LINE: Final = 1 << 20
"""Bytes. No line of usage is as long; a file without line ends must not fill the memory."""

Recognise = Callable[[frozenset[str]], Layout | None]
"""The layout of a file with these columns, in lower case; None if it is none that is known."""


def read_csv(file: BinaryIO, recognise: Recognise, mark: DecimalMark | None) -> Iterator[tuple[Layout, Cells]]:
    """Each line with its layout. `mark` is the decimal mark if the user has named it. Raises `Unreadable`."""
    texts = _lines(file)
    first = next(texts, "")
    if first.lower().startswith("sep="):  # Excel's own first line
        first = next(texts, "")
    layout, names, separator = _header(first, recognise)
    mark = mark or ("." if separator in ",\t" else None)
    rows = csv.reader(_again(first, texts), delimiter=separator, strict=True)
    line = 1
    try:
        for row in rows:
            start, line = line, rows.line_num + 1
            if start == 1 or not any(row):
                continue
            if len(row) != len(names):
                raise Unreadable(f"line {start}: has {len(row)} cells, the header has {len(names)}")
            yield layout, Cells(dict(zip(names, row, strict=True)), start, mark=mark)
    except csv.Error as error:
        raise Unreadable(f"line {max(rows.line_num, 1)}: is no CSV: {error}") from None


def _header(first: str, recognise: Recognise) -> tuple[Layout, list[str], str]:
    """The layout, the names of the columns and the separator."""
    if not first.strip():
        raise Unreadable("line 1: is empty, and must name the columns")
    headers = {separator: _names(first, separator) for separator in SEPARATORS}
    for separator, names in headers.items():
        layout = recognise(frozenset(names))
        if layout is not None:
            twice = sorted({name for name in names if name and names.count(name) > 1})
            if twice:
                raise Unreadable(f"line 1, column {twice[0]}: stands twice")
            return layout, names, separator
    names = max(headers.values(), key=len)
    shown = ", ".join(name[:40] for name in names[:30])
    raise Unreadable(f"line 1: no export that is known has the columns {shown}: name them, --column tokens_in=NAME")


def _names(line: str, separator: str) -> list[str]:
    """The cells of the header. Quotes that do not end give none: that separator is wrong, or the file."""
    try:
        row = next(csv.reader(io.StringIO(line, newline=""), delimiter=separator), [])
    except csv.Error:
        return []
    return [name.strip().casefold() for name in row]


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of the file as text, each with its end."""
    encoding = _encoding(file)
    if encoding != "utf-8-sig":
        wrapper = io.TextIOWrapper(file, encoding, newline="")
        try:
            yield from wrapper
        except UnicodeDecodeError:
            raise Unreadable(f"line 1: is not {encoding} to the end, although it begins so") from None
        finally:
            wrapper.detach()
        return
    number = 0
    while raw := file.readline(LONGEST_LINE):
        number += 1
        if len(raw) == LONGEST_LINE:
            raise Unreadable(f"line {number}: is longer than {LONGEST_LINE:,} bytes")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise Unreadable(f"line {number}: is not UTF-8") from None


def _encoding(file: BinaryIO) -> str:
    """Of a file at its beginning, by its byte order mark."""
    begin = file.read(2)
    file.seek(0)
    return "utf-16" if begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
