"""The values of a policy: names, tags, aliases, moments and dollars, each read from whatever spelling a source has.

`policy.py` puts them together.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from crplugins.core.principal import Aliases
from crplugins.keys.aliases import AliasError, parse_targets
from crplugins.settings.section import Section, refusal

Text = Annotated[str, Field(min_length=1)]

_LONGEST_NAME: Final = 500
"""Bytes of UTF-8. A ledger cuts a longer one, which would be that of another there, or of nobody."""


def _name(value: str) -> str:
    if len(value.encode(errors="replace")) > _LONGEST_NAME:
        raise refusal(f"must have {_LONGEST_NAME} bytes at most")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise refusal("must be a text without control characters and halves of others")
    return value


Name = Annotated[Text, AfterValidator(_name)]


def _texts(value: Any) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise refusal("must be a list of texts, not text" if isinstance(value, str) else "must be a list of texts")
    if not all(isinstance(item, str) and item for item in value):
        raise refusal("must be a list of texts, none of them empty")
    return tuple(value)


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


def _tags(value: Any) -> Any:
    if isinstance(value, Mapping) and not all(isinstance(part, str) for item in value.items() for part in item):
        raise refusal("must be texts; put numbers, true and false in quotes")
    return value


Tags = Annotated[Mapping[str, str], BeforeValidator(_tags)]


def read_aliases(value: Mapping[str, Any]) -> Aliases:
    found, problems = {}, []
    for alias, targets in value.items():
        try:
            found[alias] = parse_targets(alias, targets)
        except AliasError as error:
            problems.append(str(error))
    if problems:
        raise refusal("; ".join(problems))
    return MappingProxyType(found)


FIRST_MOMENT: Final = datetime.min.replace(tzinfo=UTC)
LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    """Kept between the years 1 and 9999, which are as good as never: other programs' `never` is one of their ends."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return LAST_MOMENT if moment.year > FIRST_MOMENT.year else FIRST_MOMENT


def _moment(value: Any) -> datetime:
    """The instant of a date, a datetime or their ISO 8601 texts, in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise refusal("must be a date such as 2027-01-01 or a time such as 2027-01-01T18:00:00Z")


Moment = Annotated[datetime, PlainValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
"""`2027-01-01` is its first instant; without a zone it is UTC."""


def _usd(value: Any) -> Decimal:
    """An amount by its spelling: 0.1 is exact."""
    try:
        amount = None if isinstance(value, bool) or not isinstance(value, int | float | str) else Decimal(str(value))
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite():
        raise refusal("must be an amount such as 50 or 12.50")
    if amount < 0:
        raise refusal("must be at least 0")
    if amount > _MOST_USD:
        raise refusal(f"must be {_MOST_USD} at most")
    return amount


_MOST_USD: Final = 10**12
"""Its millionths are a number of 64 bits, as stores and reports have it."""

Usd = Annotated[
    Decimal,
    PlainValidator(_usd),
    WithJsonSchema({"type": ["number", "string"], "minimum": 0, "maximum": _MOST_USD}),
]


class NullIsNothing(Section):
    """A section in which a key without a value is one that is not given.

    Attributes:
        nullable: the keys for which null is a value.
    """

    nullable: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: item for key, item in value.items() if item is not None or key in cls.nullable}
