"""Checks of single values, each with the refusal OpenAI words for it.

A check is made once and used for every request. It is given the path of a value (`messages[0].role`) and its JSON
as sent, because a refusal shows a number in the client's own spelling.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from crplugins.core.errors import GatewayError, unparsable_body


class Check(Protocol):
    def __call__(self, path: str, raw: bytes) -> None:
        """Raises `GatewayError` 400 if the JSON value `raw` at `path` is not acceptable."""


@dataclass(frozen=True, slots=True)
class Number:
    """A decimal, or with `whole` an integer, between two bounds; None is no bound."""

    low: float | None = None
    high: float | None = None
    whole: bool = False
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        value = decode(raw)
        if value is None and self.nullable:
            return
        kind, right = ("an integer", int) if self.whole else ("a decimal", (int, float))
        if isinstance(value, bool) or not isinstance(value, right):
            raise invalid_type(path, kind, value)
        noun = "integer" if self.whole else "decimal"
        if self.low is not None and value < self.low:
            raise _beyond(path, f"{noun} below minimum value", f">= {_plain(self.low)}", raw, f"{noun}_below_min_value")
        if self.high is not None and value > self.high:
            raise _beyond(
                path, f"{noun} above maximum value", f"<= {_plain(self.high)}", raw, f"{noun}_above_max_value"
            )


@dataclass(frozen=True, slots=True)
class Boolean:
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if raw not in (b"true", b"false") and not (self.nullable and raw == b"null"):
            raise invalid_type(path, "a boolean", decode(raw))


@dataclass(frozen=True, slots=True)
class String:
    """A string of at most `longest` characters, matching `pattern` if there is one."""

    longest: int | None = None
    pattern: "re.Pattern[str] | None" = None
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        value = decode(raw)
        if value is None and self.nullable:
            return
        if not isinstance(value, str):
            raise invalid_type(path, "a string", value)
        check_length(path, "string", len(value), self.longest)
        if self.pattern is not None and not self.pattern.fullmatch(value):
            expected = (
                f"string does not match pattern. Expected a string that matches the pattern '{self.pattern.pattern}'."
            )
            raise invalid(path, expected, "invalid_value")


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a closed set of strings."""

    values: tuple[str, ...]
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        value = decode(raw)
        if value is None and self.nullable:
            return
        if not isinstance(value, str):
            raise invalid_type(path, f"one of {listed(self.values)}", value)
        if value not in self.values:
            raise unsupported_choice(path, value, self.values)


@dataclass(frozen=True, slots=True)
class Array:
    """An array of `fewest` to `most` items, each passing `item`."""

    item: Check
    fewest: int = 0
    most: int | None = None
    nullable: bool = True
    expected: str = "an array"

    def __call__(self, path: str, raw: bytes) -> None:
        try:
            items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        except msgspec.ValidationError:
            if raw == b"null" and self.nullable:
                return
            raise invalid_type(path, self.expected, decode(raw)) from None
        check_count(path, len(items), self.fewest, self.most)
        for index, item in enumerate(items):
            self.item(f"{path}[{index}]", bytes(item))


@dataclass(frozen=True, slots=True)
class Object:
    """An object whose named members pass their checks; others are left alone."""

    members: Mapping[str, Check]
    required: tuple[str, ...] = ()
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        try:
            members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            if raw == b"null" and self.nullable:
                return
            raise invalid_type(path, "an object", decode(raw)) from None
        for name in self.required:
            if name not in members:
                raise missing(f"{path}.{name}")
        for name, check in self.members.items():
            if name in members:
                check(f"{path}.{name}", bytes(members[name]))


@dataclass(frozen=True, slots=True)
class Pairs:
    """An object of at most `most` short strings."""

    most: int
    longest_key: int
    longest_value: int

    def __call__(self, path: str, raw: bytes) -> None:
        pairs = decode(raw)
        if pairs is None:
            return
        if not isinstance(pairs, dict):
            raise invalid_type(path, "an object", pairs)
        if len(pairs) > self.most:
            expected = f"Expected an object with at most {self.most} properties, but got {len(pairs)} instead."
            raise invalid(path, f"too many properties. {expected}", "object_above_max_properties")
        for key, value in pairs.items():
            check_length(path, "string", len(key), self.longest_key)
            if not isinstance(value, str):
                raise invalid_type(f"{path}.{key}", "a string", value)
            check_length(f"{path}.{key}", "string", len(value), self.longest_value)


@dataclass(frozen=True, slots=True)
class Either:
    """A value whose JSON begins with one of the given bytes passes that check; any other is of the wrong type."""

    by_first_byte: Mapping[bytes, Check]
    expected: str

    def __call__(self, path: str, raw: bytes) -> None:
        if raw == b"null":
            return
        check = self.by_first_byte.get(raw[:1])
        if check is None:
            raise invalid_type(path, self.expected, decode(raw))
        check(path, raw)


def decode(raw: bytes) -> Any:
    """The value. Raises `GatewayError` 400 for what JSON allows nowhere, such as invalid UTF-8."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise unparsable_body() from None


def invalid(path: str, problem: str, code: str) -> GatewayError:
    return GatewayError(400, f"Invalid '{path}': {problem}", param=path, code=code)


def missing(path: str) -> GatewayError:
    return GatewayError(400, f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def invalid_type(path: str, expected: str, value: object) -> GatewayError:
    message = f"Invalid type for '{path}': expected {expected}, but got {_kind(value)} instead."
    return GatewayError(400, message, param=path, code="invalid_type")


def unsupported_choice(path: str, value: str, values: Sequence[str]) -> GatewayError:
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
    message = f"Invalid value: '{shown}'. Supported values are: {listed(values)}."
    return GatewayError(400, message, param=path, code="invalid_value")


def listed(values: Sequence[str]) -> str:
    """`'a', 'b', and 'c'`."""
    *rest, last = [f"'{value}'" for value in values]
    return f"{', '.join(rest)}, and {last}" if len(rest) > 1 else " and ".join([*rest, last])


def check_length(path: str, noun: str, length: int, longest: int | None) -> None:
    if longest is not None and length > longest:
        expected = f"Expected a {noun} with maximum length {longest}, but got a {noun} with length {length} instead."
        raise invalid(path, f"{noun} too long. {expected}", f"{noun}_above_max_length")


def check_count(path: str, count: int, fewest: int, most: int | None) -> None:
    if count < fewest:
        got = "an empty array" if count == 0 else f"an array with length {count}"
        noun = "empty array" if count == 0 else "array too short"
        code = "empty_array" if count == 0 else "array_below_min_length"
        raise invalid(path, f"{noun}. Expected an array with minimum length {fewest}, but got {got} instead.", code)
    if most is not None and count > most:
        expected = f"Expected an array with maximum length {most}, but got an array with length {count} instead."
        raise invalid(path, f"array too long. {expected}", "array_above_max_length")


_SHOWN: Final = 100


def _beyond(path: str, problem: str, expected: str, raw: bytes, code: str) -> GatewayError:
    shown = raw[:_SHOWN].decode()
    return invalid(path, f"{problem}. Expected a value {expected}, but got {shown} instead.", code)


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds = {int: "an integer", float: "a decimal number", str: "a string", list: "an array", dict: "an object"}
    return kinds[type(value)]
