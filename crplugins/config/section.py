"""Section: the base of everything in the configuration that has keys."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A mapping with known keys: the fields. Adding a key is adding a field, adding a section is a field of `Config`.

    Attributes:
        ignored: keys of LiteLLM's that are dropped with a warning, and the reason.
        extras: with `extra="allow"`, well-known keys beside the fields. A key that almost reads like a field or like
            one of these is a misspelling; any other is kept.
        likeness: how alike that is, 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    ignored: ClassVar[Mapping[str, str]] = MappingProxyType({})
    extras: ClassVar[frozenset[str]] = frozenset()
    likeness: ClassVar[float] = 0.6

    @classmethod
    def known_keys(cls) -> set[str]:
        return {key for name, field in cls.model_fields.items() for key in (_aliases(field.validation_alias) or [name])}

    @classmethod
    def field_of(cls, key: str) -> FieldInfo | None:
        """The field that the key `key` is for."""
        for name, field in cls.model_fields.items():
            if key in (_aliases(field.validation_alias) or [name]):
                return field
        return None

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


def refusal(message: str) -> PydanticCustomError:
    """For validators: an error whose text is `message` as it stands."""
    return PydanticCustomError("refused", "{text}", {"text": message})


def _aliases(alias: object) -> list[str]:
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [choice for choice in choices if isinstance(choice, str)]


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise refusal("must be a number, not true or false")
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]
"""An int; pydantic would take `true` for 1."""

Number = Annotated[float, BeforeValidator(_no_boolean)]
"""A float; pydantic would take `true` for 1."""
