"""Checks of single values: first those of numbers and strings, then those of arrays and objects, made of other checks.

A check is made once and used for every request. It gets the path of a value (`messages[0].role`) and its JSON as sent:
most checks need only the first byte, and a refusal shows a number exactly as the client wrote it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeVar, cast

import msgspec

from crplugins.core.errors import invalid_type, kind, unparsable_body
from crplugins.core.lenient_json import NOT_JSON
from crplugins.plugins.guard.refusals import (
    above_maximum,
    below_minimum,
    empty,
    listed,
    missing,
    no_match,
    property_name_too_long,
    shortened,
    too_long,
    too_many_properties,
    unknown_parameter,
    unsupported_value,
)

T = TypeVar("T")

_LONGEST_INTEGER: Final = 100
"""Digits above which int() is slow or raises, and the value is outside all bounds anyway."""


class Check(Protocol):
    def __call__(self, path: str, raw: bytes) -> None:
        """Raises `GatewayError` 400 if the JSON value `raw` at `path` is not acceptable."""


class Decimal(msgspec.Struct, frozen=True):
    """A number between two bounds. A boolean is not a number, an integer is."""

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


class Integer(msgspec.Struct, frozen=True):
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


class Boolean(msgspec.Struct, frozen=True):
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if raw not in (b"true", b"false") and not (self.nullable and raw == b"null"):
            raise invalid_type(path, "a boolean", raw)


class String(msgspec.Struct, frozen=True):
    """A string of `shortest` to `longest` characters that matches `pattern`, as far as these are given."""

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


class OneOf(msgspec.Struct, frozen=True):
    """One of a set of strings; other strings pass if the set is `open`, because some provider may support them."""

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
    """The string whose JSON is `raw`."""
    return read(raw, _string)


def read(raw: bytes | msgspec.Raw, decoder: "msgspec.json.Decoder[T]") -> T:
    """The value. Raises `GatewayError` 400 for invalid JSON, such as invalid UTF-8, and for too deep nesting.

    Raises `msgspec.ValidationError` for JSON of another type than the decoder's.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise
    except NOT_JSON:
        raise unparsable_body() from None


_string: Final = msgspec.json.Decoder(str)


Members = dict[str, msgspec.Raw]

_array: Final = msgspec.json.Decoder(list[msgspec.Raw])
_object: Final = msgspec.json.Decoder(Members)


class Array(msgspec.Struct, frozen=True):
    """An array of `fewest` to `most` items, each passing `item`. `expected` is OpenAI's name for it in a refusal."""

    item: Check
    fewest: int = 0
    most: int | None = None
    nullable: bool = True
    expected: str = "an array of objects"

    def __call__(self, path: str, raw: bytes) -> None:
        if raw == b"null" and self.nullable:
            return
        items = items_of(path, raw, self.expected)
        if len(items) < self.fewest:
            raise empty(path, "array", self.fewest)
        if self.most is not None and len(items) > self.most:
            raise too_long(path, "array", self.most, len(items))
        for index, item in enumerate(items):
            self.item(f"{path}[{index}]", bytes(item))


class Object(msgspec.Struct, frozen=True):
    """An object with all `required` members, whose `members` pass their checks. Others pass if it is `open`."""

    members: Mapping[str, Check]
    required: tuple[str, ...] = ()
    nullable: bool = False
    open: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if not (raw == b"null" and self.nullable):
            self.check_members(path, members_of(path, raw))

    def check_members(self, path: str, members: Members) -> None:
        for name in self.required:
            if name not in members:
                raise missing(f"{path}.{name}")
        if not self.open:
            for name in members:
                if name not in self.members:
                    raise unknown_parameter(f"{path}.{shortened(name)}")
        for name, check in self.members.items():
            if (raw := members.get(name)) is not None:
                check(f"{path}.{name}", bytes(raw))


class Tagged(msgspec.Struct, frozen=True):
    """An object whose `type` selects one of the variants; other types pass if it is `open`."""

    variants: Mapping[str, Object]
    nullable: bool = False
    open: bool = False

    def __call__(self, path: str, raw: bytes) -> None:
        if raw == b"null" and self.nullable:
            return
        members = members_of(path, raw)
        tag = members.pop("type", None)
        if tag is None:
            raise missing(f"{path}.type")
        variant = self._variant(f"{path}.type", bytes(tag))
        if variant is not None:
            variant.check_members(path, members)

    def _variant(self, path: str, raw: bytes) -> Object | None:
        if raw[:1] != b'"':
            raise invalid_type(path, "a string", raw)
        value = text_of(raw)
        if value not in self.variants and not self.open:
            raise unsupported_value(path, value, tuple(self.variants))
        return self.variants.get(value)


class Map(msgspec.Struct, frozen=True):
    """An object with names chosen by the client: at most `most` names of at most `longest_name` characters."""

    value: Check
    most: int | None = None
    longest_name: int | None = None
    nullable: bool = True
    expected: str = "an object"

    def __call__(self, path: str, raw: bytes) -> None:
        if raw == b"null" and self.nullable:
            return
        members = members_of(path, raw, self.expected)
        if self.most is not None and len(members) > self.most:
            raise too_many_properties(path, self.most, len(members))
        for name, value in members.items():
            if self.longest_name is not None and len(name) > self.longest_name:
                raise property_name_too_long(path, name, self.longest_name)
            self.value(f"{path}.{shortened(name)}", bytes(value))


class Either(msgspec.Struct, frozen=True):
    """A value of one of several JSON types. `by_first_byte` has the check of each, by how such JSON begins."""

    by_first_byte: Mapping[bytes, Check]
    expected: str
    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if raw == b"null" and self.nullable:
            return
        check = self.by_first_byte.get(raw[:1])
        if check is None:
            raise invalid_type(path, self.expected, raw)
        check(path, raw)


class AnyObject(msgspec.Struct, frozen=True):
    """An object of any content, such as a JSON schema."""

    nullable: bool = True

    def __call__(self, path: str, raw: bytes) -> None:
        if raw[:1] != b"{" and not (raw == b"null" and self.nullable):
            raise invalid_type(path, "an object", raw)


class FastPath(msgspec.Struct, frozen=True):
    """A check with a typed decode in front of it, which is several times faster: what it accepts has passed.

    The decoder must accept nothing that the check, even a closed one, would refuse.
    """

    decoder: "msgspec.json.Decoder[Any]"
    check: Check

    def __call__(self, path: str, raw: bytes) -> None:
        try:
            self.decoder.decode(raw)
        except NOT_JSON:
            self.check(path, raw)


def closed(check: Check) -> Check:
    """The same check with no open set in it, at any depth: what OpenAI does not know is refused everywhere."""
    return cast("Check", _closed(check))


def _closed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _closed(member) for key, member in value.items()}
    if not isinstance(value, msgspec.Struct):
        return value
    changes = {name: _closed(getattr(value, name)) for name in value.__struct_fields__}
    return msgspec.structs.replace(value, **changes | ({"open": False} if "open" in changes else {}))


def items_of(path: str, raw: bytes, expected: str) -> list[msgspec.Raw]:
    if raw[:1] != b"[":
        raise invalid_type(path, expected, raw)
    return read(raw, _array)


def members_of(path: str, raw: bytes, expected: str = "an object") -> Members:
    if raw[:1] != b"{":
        raise invalid_type(path, expected, raw)
    return read(raw, _object)
