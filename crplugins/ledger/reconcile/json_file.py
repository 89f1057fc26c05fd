"""The results of a JSON export, one at a time: a page of an API, a list of pages, or one page after the other.

Both APIs answer `{"data": [{...time..., "results": [{...}, ...]}, ...], "has_more": ...}`; which of a bucket's members
comes first is not promised, and Anthropic's time stands after its results.
"""

import codecs
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, BinaryIO, Final, NoReturn

from crplugins.ledger.reconcile.cells import Cells, Unreadable

CHUNK: Final = 1 << 16
LONGEST_VALUE: Final = 1 << 22
"""Characters of one result. A hostile file must not fill the memory."""

BUCKET_STARTS: Final = ("start_time", "starting_at")
BUCKET_ENDS: Final = ("end_time", "ending_at")

_DEEPEST: Final = 8
"""How deep pages and lists of pages may be nested."""


class JsonReader:
    """Walks through JSON of any size and holds no more than one value of it at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)
        self._text, self._at = "", 0
        self.line, self.column = 1, 1

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            space = self._at
            while space < len(self._text) and self._text[space] in " \t\r\n":
                space += 1
            self._advance(space)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def members(self) -> Iterator[str]:
        """The names of an object's members. Their values must be read in between."""
        self._expect("{")
        while self.peek() != "}":
            name = self.value()
            if not isinstance(name, str):
                self._fail("the name of a member must be a string")
            self._expect(":")
            yield name
            self._separator("}")
        self._expect("}")

    def items(self) -> Iterator[None]:
        """Once for each item of a list, which must be read in between."""
        self._expect("[")
        while self.peek() != "]":
            yield None
            self._separator("]")
        self._expect("]")

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                place = getattr(error, "pos", self._at) - self._at  # a JSONDecodeError knows where it stopped
                if not self._more():
                    self._advance(self._at + place)
                    self._fail(str(error).partition(": line")[0])
            else:
                if end < len(self._text) or not self._more():  # a number at the end of the text may go on
                    self._advance(end)
                    return value

    def _separator(self, end: str) -> None:
        if self.peek() != end:
            self._expect(",")
            if self.peek() == end:
                self._fail(f"'{end}' after a comma")

    def _expect(self, character: str) -> None:
        found = self.peek()
        if found != character:
            self._fail(f"must be '{character}', not {repr(found) if found else 'the end'}")
        self._advance(self._at + 1)

    def _advance(self, end: int) -> None:
        lines = self._text.count("\n", self._at, end)
        if lines:
            self.line += lines
            self.column = end - self._text.rindex("\n", self._at, end)
        else:
            self.column += end - self._at
        self._at = end

    def _more(self) -> bool:
        """Reads on: as much again as there is, so that a long value is decoded a few times, not once a chunk."""
        rest = self._text[self._at :]
        if len(rest) > LONGEST_VALUE:
            self._fail(f"this value is longer than {LONGEST_VALUE:,} characters, or is no JSON")
        text = ""
        while not text and (chunk := self._file.read(max(CHUNK, len(rest)))):
            try:
                text = self._decode(chunk)
            except UnicodeDecodeError:
                self._fail("is not UTF-8 after this place")
        self._text, self._at = rest + text, 0
        return bool(text)

    def _fail(self, message: str) -> NoReturn:
        raise Unreadable(f"line {self.line}, column {self.column}: is no JSON of an export: {message}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


class Bucket:
    """The time of some results: read when all of them are, because it may stand after them."""

    def __init__(self, line: int, column: int) -> None:
        self._line, self._column = line, column
        self.times: dict[str, object] = {}

    def cells(self) -> Cells:
        return Cells(self.times, self._line, self._column)


def read_json(reader: JsonReader) -> Iterator[Bucket | Cells | str]:
    """The results of each bucket, then the bucket. A string is a note for the user. Raises `Unreadable`."""
    more = False
    while reader.peek():
        for found in _any(reader, 0):
            if isinstance(found, bool):
                more = found
            else:
                yield found
    if more:
        yield "the export says that it has more pages (has_more): what stands on them is missing there"


def _any(reader: JsonReader, depth: int) -> Iterator[Bucket | Cells | bool]:
    if depth > _DEEPEST:
        raise Unreadable(f"line {reader.line}, column {reader.column}: is nested too deep for an export")
    if reader.peek() == "[":
        for _ in reader.items():
            yield from _any(reader, depth + 1)
        return
    bucket = Bucket(reader.line, reader.column)
    has_results = False
    for name in reader.members():
        if name == "data" and reader.peek() == "[":
            yield from _any(reader, depth + 1)
        elif name == "results" and reader.peek() == "[":
            has_results = True
            yield from _results(reader)
        elif name == "has_more":
            yield reader.value() is True
        else:
            value = reader.value()
            if name in BUCKET_STARTS + BUCKET_ENDS:
                bucket.times[name] = value
    if has_results:
        yield bucket


def _results(reader: JsonReader) -> Iterator[Cells]:
    for _ in reader.items():
        reader.peek()
        line, column = reader.line, reader.column
        result = reader.value()
        if not isinstance(result, dict):
            raise Unreadable(f"line {line}, column {column}: a result must be an object")
        yield Cells(_flat(result), line, column)


def _flat(result: Mapping[str, Any]) -> dict[str, object]:
    """`{"amount": {"value": 1}}` as `{"amount_value": 1}`, as the CSV of the same export has it. Nulls are left out."""
    flat: dict[str, object] = {}
    for name, value in result.items():
        if isinstance(value, dict):
            flat.update({f"{name}_{inner}": part for inner, part in value.items() if part is not None})
        elif value is not None:
            flat[name] = value
    return flat
