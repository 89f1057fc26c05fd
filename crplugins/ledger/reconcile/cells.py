"""Cells: one line of an export, its values by their names. Counts, money and moments, however they are spelled."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

from crplugins.core.usage import PICO

DecimalMark = Literal[".", ","]

_LARGEST: Final = 10**15
"""Tokens or US dollars. More than anybody is billed for, and few enough digits that no arithmetic takes long."""

_LONGEST_NUMBER: Final = 60
_DOLLARS: Final = re.compile(r"([+-]?)\s*(?:US\$|\$|USD)?\s*(.+?)\s*(?:US\$|\$|USD)?", re.IGNORECASE)
_THOUSANDS: Final = "'\u2019 \u00a0\u202f"
"""What separates thousands in some country, besides the one of point and comma that is not the decimal mark."""

_LONGEST_SHOWN: Final = 40


class Unreadable(ValueError):
    """An export that cannot be read. The text says where and why, for whoever runs the command."""


class Cells:
    """One line of an export.

    Args:
        values: by column; from JSON whatever stood there, a `Decimal` for a number with a point.
        line, column: where the line begins, both from 1; a line of CSV has no column.
        mark: the decimal mark of the file; None if it can be either.
    """

    __slots__ = ("_column", "_line", "_mark", "_values")

    def __init__(
        self, values: Mapping[str, object], line: int, column: int | None = None, mark: DecimalMark | None = "."
    ) -> None:
        self._values, self._line, self._column, self._mark = values, line, column, mark

    def names(self) -> frozenset[str]:
        return frozenset(self._values)

    def text(self, name: str) -> str:
        """Empty where there is none."""
        value = self._values.get(name)
        return "" if value is None else str(value).strip()

    def count(self, name: str) -> int | None:
        """A number of tokens or requests; None where the cell is empty. Raises `Unreadable`."""
        value = self._values.get(name)
        if isinstance(value, str) and len(value) <= 15:  # nearly all of them
            digits = value[:-2] if self._mark == "." and value.endswith(".0") else value
            if digits.isascii() and digits.isdigit():
                return int(digits)
        number = self._number(name, value)
        if number is None:
            return None
        if number != number.to_integral_value() or number < 0:
            raise self.fault(name, f"must be a whole number, not {_shown(value)}")
        return int(number)

    def pico_usd(self, name: str, *, in_cents: bool = False) -> int | None:
        """An amount of money in millionths of a millionth of a US dollar, so that sums of fractions of a cent are
        exact. Raises `Unreadable`."""
        number = self._number(name, self._values.get(name))
        if number is None:
            return None
        return int((number * (PICO // 100 if in_cents else PICO)).to_integral_value())

    def day(self, starts: tuple[str, ...], ends: tuple[str, ...]) -> date | None:
        """The day (UTC) of the line; None where it has no time. Of each list the first name that has a value counts.

        Raises `Unreadable`, also for a line that reaches into another day: what it counts has no day.
        """
        start = next((name for name in starts if self.text(name)), None)
        if start is None:
            return None
        end = next((name for name in ends if self.text(name)), None)
        begin = self._moment(start)
        if end is not None and self._moment(end) - begin > timedelta(0):
            last = self._moment(end) - timedelta(microseconds=1)
            if last.date() != begin.date():
                raise self.fault(start, "is of more than one day in UTC: export days, hours or minutes of UTC")
        return begin.date()

    def fault(self, name: str, message: str) -> Unreadable:
        if self._column is None:
            return Unreadable(f"line {self._line}, column {name}: {message}")
        return Unreadable(f"line {self._line}, column {self._column}, {name}: {message}")

    def _number(self, name: str, value: object) -> Decimal | None:
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            number = Decimal(value)
        elif isinstance(value, str):
            try:
                number = read_number(value, self._mark)
            except ValueError as error:
                raise self.fault(name, str(error)) from None
        else:
            raise self.fault(name, f"must be a number, not {_shown(value)}")
        if not number.is_finite() or number.adjusted() >= 15:
            raise self.fault(name, f"must be less than {_LARGEST:,}")
        return number

    def _moment(self, name: str) -> datetime:
        try:
            return read_time(self.text(name))
        except ValueError as error:
            raise self.fault(name, str(error)) from None


def read_number(text: str, mark: DecimalMark | None) -> Decimal:
    """`1,234.56`, `1.234,56`, `$0.06`, `1.5E-7`. Raises ValueError with a message for the user."""
    found = _DOLLARS.fullmatch(text.strip())
    if found is None or len(text) > _LONGEST_NUMBER:
        raise ValueError(f"must be a number, not {_shown(text)}")
    sign, digits = found.groups()
    mark = mark or _mark_of(digits)
    other = "," if mark == "." else "."
    grouped = re.fullmatch(rf"\d{{1,3}}(?:([{other}{_THOUSANDS}])\d{{3}})(?:\1\d{{3}})*((?:\{mark}\d*)?)", digits)
    if grouped is not None:
        whole = digits.removesuffix(grouped[2])
        digits = "".join(c for c in whole if c.isdigit()) + grouped[2]
    digits = digits.replace(mark, ".")
    if not re.fullmatch(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", digits):
        raise ValueError(f"must be a number, not {_shown(text)}")
    return Decimal(sign + digits)


def _mark_of(digits: str) -> DecimalMark:
    """The decimal mark that a number shows by itself. Raises ValueError for `1.234`, which is two numbers."""
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        return "." if digits.rindex(".") > digits.rindex(",") else ","
    if points + commas != 1:
        return "," if points else "."  # several of a kind separate thousands
    mark: DecimalMark = "." if points else ","
    if re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", digits):
        raise ValueError(f"{digits} can be a thousand times as much: say which it is with --decimal point or comma")
    return mark


@lru_cache(maxsize=10_000)
def read_time(text: str) -> datetime:
    """A day, a moment with or without a zone (then UTC), or seconds or milliseconds since 1970, in UTC.

    Raises ValueError with a message for the user.
    """
    try:
        if re.fullmatch(r"\d{9,13}(\.\d+)?", text, re.ASCII):
            seconds = float(text)
            moment = datetime.fromtimestamp(seconds / 1000 if seconds >= 1e11 else seconds, UTC)
        else:
            moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"must be a day such as 2027-01-31 or a time, not {_shown(text)}") from None


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "...")
