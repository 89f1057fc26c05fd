"""Section: the base of everything in the configuration that has keys."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from crplugins.settings.building import without_plugins


class Section(BaseModel):
    """A mapping with known keys: the fields. Adding a key is adding a field, adding a section is a field of `Config`:
    `Deferred`, where few files have it.

    The text below a field says what it means, and its `examples` what it may look like: both stand in the reference of
    every key (`config/reference.py`).

    Attributes:
        ignored: keys of LiteLLM's that are dropped with a warning, and the reason.
        extras: with `extra="allow"`, well-known keys beside the fields. A key that almost reads like a field or like
            one of these is a misspelling; any other is kept.
        likeness: how alike that is, 0 to 1.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        defer_build=True,  # of most sections nobody needs a validator beside the one of the section around it
    )

    ignored: ClassVar[Mapping[str, str]] = MappingProxyType({})
    extras: ClassVar[frozenset[str]] = frozenset()
    likeness: ClassVar[float] = 0.6

    @classmethod
    def without_keys(cls) -> Self:
        """The section with nothing written in it, as the default of a field. Builds no validator, which takes time."""
        return cls.model_construct()

    @classmethod
    def prepare(cls) -> None:
        """For a section that is read while requests wait: builds its validator now. It takes time and reads files."""
        cls.model_rebuild()

    @classmethod
    def model_rebuild(cls, **options: Any) -> bool | None:
        """Builds the validator, which no plugin of Pydantic's watches."""
        with without_plugins():
            return super().model_rebuild(**options)

    @classmethod
    def every(cls) -> "Iterator[type[Section]]":
        """This section and all that are made from it."""
        yield cls
        for section in cls.__subclasses__():
            yield from section.every()

    @classmethod
    @functools.cache  # a keys file asks once for each of its keys
    def known_keys(cls) -> frozenset[str]:
        fields = cls.model_fields.items()
        return frozenset(key for name, field in fields for key in (_aliases(field.validation_alias) or [name]))

    @classmethod
    def field_of(cls, key: str) -> FieldInfo | None:
        """The field that the key `key` is for."""
        for name, field in cls.model_fields.items():
            if key in (_aliases(field.validation_alias) or [name]):
                return field
        return None

    @classmethod
    def knows(cls, key: str) -> bool:
        """Whether a key is meant as it is written: a field, or a well-known one beside them."""
        return key in cls.known_keys() or key in cls.extras

    @classmethod
    def keeps_others(cls) -> bool:
        """Whether keys that are no fields are kept."""
        return cls.model_config.get("extra") == "allow"

    @property
    def others(self) -> Mapping[str, Any]:
        """The kept keys that are no fields."""
        return MappingProxyType(self.model_extra or {})

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Fields only: other keys may hold credentials nobody declared as such."""
        fields = type(self).model_fields
        return ((name, value) for name, value in super().__repr_args__() if name in fields)


T = TypeVar("T")


def switch(value: Any) -> Any:
    """For validators of a section that may be written as `true`, which is all of its defaults, or `false`, none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


def refusal(message: str, *below: str | int) -> PydanticCustomError:
    """For validators: an error whose text is `message` as it stands.

    `below` leads from the value that is validated to the one that is wrong.
    """
    return PydanticCustomError("refused", "{text}", {"text": message, "below": below})


def not_empty(entries: tuple[T, ...]) -> tuple[T, ...]:
    """Pydantic's own min_length also complains about a list whose entries are merely wrong."""
    if not entries:
        raise refusal("must not be empty")
    return entries


def _aliases(alias: object) -> list[str]:
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [choice for choice in choices if isinstance(choice, str)]


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise refusal("must be a number, not true or false")
    return value


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        if value.lower() not in _FLAGS:
            raise refusal("must be true or false, not text")
        return _FLAGS[value.lower()]
    return value


_FLAGS: Final = {"true": True, "false": False}

Flag = Annotated[bool, BeforeValidator(_flag)]
"""A bool, or its text, as a variable of the environment has it; pydantic would take `yes` too."""

Whole = Annotated[int, BeforeValidator(_no_boolean)]
"""An int; pydantic would take `true` for 1."""

Count = Annotated[int, Field(gt=0, le=2**63 - 1), BeforeValidator(_no_boolean)]
"""A whole number above 0, which JSON schemas say too. What no float can hold could not be computed with."""

Number = Annotated[float, BeforeValidator(_no_boolean)]
"""A float; pydantic would take `true` for 1."""
