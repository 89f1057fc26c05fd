"""Checks of single values.

A check is made once and used for every request. It is given the path of a value (`messages[0].role`) and its JSON as
sent: most checks need no more than its first byte, and a refusal shows a number in the client's own spelling.
"""

import re
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import msgspec

from crplugins.core.errors import unparsable_body
from crplugins.plugins.guard_refusals import (
    above_maximum,
    below_minimum,
    empty,
    invalid_type,
    kind,
    listed,
    no_match,
    too_long,
    unsupported_value,
)

T = TypeVar("T")

_LONGEST_INTEGER: Final = 100
"""Digits past which int() is slow or refuses, and every bound is passed anyway."""


class Check(Protocol):
    def __call__(self, path: str, raw: bytes) -> None:
        """Raises `GatewayError` 400 if the JSON value `raw` at `path` is not acceptable."""


@dataclass(frozen=True, slots=True)
class Decimal:
    """A number between two bounds. A boolean is none, an integer is one."""

    low: float
    high: float
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if kind(raw) not in ("an integer", "a decimal number"):
            if not (raw == b"null" and self.nullable):
                raise invalid_type(path, "a decimal", raw)
            return
        value = float(raw)
        if value < self.low:
            raise below_minimum(path, "decimal", self.low, raw)
        if value > self.high:
            raise above_maximum(path, "decimal", self.high, raw)


@dataclass(frozen=True, slots=True)
class Integer:
    """A number without fraction or exponent, 1.0 not included; None is no bound."""

    low: int
    high: int | None = None
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if kind(raw) != "an integer":
            if not (raw == b"null" and self.nullable):
                raise invalid_type(path, "an integer", raw)
            return
        value = int(raw) if len(raw) <= _LONGEST_INTEGER else float(raw)
        if value < self.low:
            raise below_minimum(path, "integer", self.low, raw)
        if self.high is not None and value > self.high:
            raise above_maximum(path, "integer", self.high, raw)


@dataclass(frozen=True, slots=True)
class Boolean:
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if raw not in (b"true", b"false") and not (self.nullable and raw == b"null"):
            raise invalid_type(path, "a boolean", raw)


@dataclass(frozen=True, slots=True)
class String:
    """A string of `shortest` to `longest` characters that matches `pattern`, if there are any such bounds."""

    longest: int | None = None
    shortest: int = 0
    pattern: "re.Pattern[str] | None" = None
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if raw[:1] != b'"':
            if not (raw == b"null" and self.nullable):
                raise invalid_type(path, "a string", raw)
            return
        if self.longest is not None and len(raw) - 2 > self.longest:  # escapes take more bytes, never fewer
            length = len(text_of(raw))
            if length > self.longest:
                raise too_long(path, "string", self.longest, length)
        if self.shortest and len(raw) - 2 == 0:
            raise empty(path, "string", self.shortest)
        if self.pattern is not None and not self.pattern.fullmatch(text_of(raw)):
            raise no_match(path, self.pattern.pattern)


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a set of strings; other strings pass if the set is `open`, because some provider may know them."""

    values: tuple[str, ...]
    nullable: bool = True
    open: bool = False

    def __call__(self, path: str, raw: bytes) -> None:
        if raw[:1] != b'"':
            if not (raw == b"null" and self.nullable):
                raise invalid_type(path, f"one of {listed(self.values, 'or')}", raw)
            return
        value = text_of(raw)
        if value not in self.values and not self.open:
            raise unsupported_value(path, value, self.values)


def text_of(raw: bytes) -> str:
    """The string that `raw` is the JSON of."""
    return read(raw, _string)


def read(raw: bytes | msgspec.Raw, decoder: "msgspec.json.Decoder[T]") -> T:
    """The value. `GatewayError` 400 for what stands nowhere in JSON, such as invalid UTF-8, and for bottomless nesting.

    Raises `msgspec.ValidationError` for JSON of another type than the decoder's.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unparsable_body() from None


_string: Final = msgspec.json.Decoder(str)
