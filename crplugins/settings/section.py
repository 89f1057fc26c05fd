"""Section: the base of everything in the configuration that has keys."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar, get_args, get_origin

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from crplugins.settings.building import without_plugins
from crplugins.settings.errors import ConfigError, KeyPath, Problem, did_you_mean, format_path, nearest

_LONGEST_NAME: Final = 48
"""Of a key of ours and of LiteLLM's."""


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


S = TypeVar("S", bound=Section)
T = TypeVar("T")


def read_section(section: type[S], value: Any, path: KeyPath = (), context: Any = None) -> S:
    """`value`, which stands at `path`, as a section; `context` is for its validators.

    Raises `ConfigError`, without file and lines.
    """
    made, problems = try_section(section, value, path, context)
    if made is None:
        raise ConfigError(problems)
    return made


def try_section(
    section: type[S], value: Any, path: KeyPath = (), context: Any = None
) -> tuple[S, tuple[()]] | tuple[None, list[Problem]]:
    """The same, or everything that is wrong with `value`: first its keys, then its values."""
    if section.keeps_others():  # of the others, some may be misspelt
        return _try_keys_then_values(section, value, path, context)
    try:
        return section.model_validate(value, context=context), ()
    except ValidationError:
        return _try_keys_then_values(section, value, path, context)


def _try_keys_then_values(
    section: type[S], value: Any, path: KeyPath, context: Any
) -> tuple[S, tuple[()]] | tuple[None, list[Problem]]:
    keys = KeyCheck()
    good = keys.checked(value, section, path)
    try:
        made = section.model_validate(good, context=context)
    except ValidationError as error:
        wrong = [Problem((*path, *problem.path), problem.message) for problem in wrong_values(error)]
        return None, [*keys.problems, *wrong]
    return (None, keys.problems) if keys.problems else (made, ())


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
"""A whole number above 0, which JSON schemas say too. With one that no float can hold nothing could be reckoned."""

Number = Annotated[float, BeforeValidator(_no_boolean)]
"""A float; pydantic would take `true` for 1."""


class KeyCheck:
    """Copies a configuration without the keys that are unknown (`problems`) or ignored (`warnings`)."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def checked(self, value: Any, section: type[Section], path: KeyPath = ()) -> Any:
        """The good part of `value`, a mapping with the keys of `section`; anything else as it is."""
        if not isinstance(value, Mapping):
            return value
        plain = _plain_keys(section)
        kept = {str(key): item for key, item in value.items() if key in plain or self._keeps(str(key), section, path)}
        return {key: item if key in plain else self._below(item, section, (*path, key)) for key, item in kept.items()}

    def _below(self, value: Any, section: type[Section], path: KeyPath) -> Any:
        shape, inner = _below(section, str(path[-1])) if path[-1] in section.known_keys() else (None, None)
        if inner is None:
            return value
        if shape is Mapping and isinstance(value, Mapping):  # names of somebody's own, and a section behind each
            return {key: self.checked(item, inner, (*path, str(key))) for key, item in value.items()}
        if shape is not tuple:
            return self.checked(value, inner, path)
        if isinstance(value, list | tuple):
            return [self.checked(item, inner, (*path, index)) for index, item in enumerate(value)]
        return value  # its keys are no keys of ours, and may be secrets

    def _keeps(self, key: str, section: type[Section], path: KeyPath) -> bool:
        known = section.known_keys()
        if key in section.ignored:
            self.warnings.append(f"{format_path((*path, key))} is ignored: {section.ignored[key]}")
            return False
        if section.knows(key):
            return True
        if not section.keeps_others():
            self.problems.append(_unknown(key, known, path))
            return False
        meant = _misspelt(section, key)
        if meant is not None:
            self.problems.append(Problem((*path, key), f"unknown key, did you mean '{meant}'?"))
        return meant is None


@functools.cache
def _plain_keys(section: type[Section]) -> frozenset[str]:
    """The known keys of which nothing is to be said, and below which there is no section."""
    return frozenset(
        key for key in section.known_keys() if key not in section.ignored and _below(section, key)[1] is None
    )


@functools.lru_cache(1024)
def _misspelt(section: type[Section], key: str) -> str | None:
    """The key that `key`, which is none of ours, is almost."""
    return nearest(key, section.known_keys() | section.extras, section.likeness)


@functools.cache
def _below(section: type[Section], key: str) -> tuple[object, type[Section] | None]:
    """Of a known key: how its value is made (`tuple`, `Mapping`) of which section."""
    field = section.field_of(key)
    return (None, None) if field is None else (get_origin(field.annotation), _section_of(field.annotation))


def _section_of(annotation: Any) -> type[Section] | None:
    """The Section in a field's type: `Server`, `tuple[Key, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_of(inner))), None)


def _unknown(key: str, known: Iterable[str], path: KeyPath) -> Problem:
    """The problem that `key` is. It is named if it looks like a name: where a colon was forgotten it is a secret."""
    if not is_a_name(key):
        return Problem(path, f"has a key that is no name, known are {', '.join(sorted(known))}")
    choice = did_you_mean(key, known) or f", known are {', '.join(sorted(known))}"
    return Problem((*path, key), f"unknown key{choice}")


def is_a_name(key: str) -> bool:
    """Whether it looks like a name, and may be shown. What does not may be a secret."""
    words = key.replace("-", "_").split("_")
    return len(key) <= _LONGEST_NAME and words[0] != "sk" and all(word.isalpha() for word in words if word)


def wrong_values(error: ValidationError) -> Iterator[Problem]:
    """What pydantic found, one problem each."""
    for details in error.errors(include_url=False):
        below: KeyPath = details.get("ctx", {}).get("below", ())
        yield Problem((*details["loc"], *below), _message(details))


def _message(details: ErrorDetails) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "refused":
        return str(context["text"])
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}{_but_is(details['input'])}"
    say = _SAYINGS.get(kind)
    return say(details, context) if say else "is not valid"


def _but_is(value: Any) -> str:
    for kind, name in _KINDS.items():
        if isinstance(value, kind):
            return f", not {name}"
    return ""


def _missing(details: ErrorDetails, _context: Mapping[str, Any]) -> str:
    key = str(details["loc"][-1])
    instead = nearest(key, details["input"]) if isinstance(details["input"], Mapping) else None
    return f"is missing; is '{instead}' meant to be it?" if instead else "is missing"


def _choice(details: ErrorDetails, context: Mapping[str, Any]) -> str:
    options = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
    value = details["input"]
    return f"must be one of {', '.join(options)}" + (did_you_mean(value, options) if isinstance(value, str) else "")


_EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "dict_type": "a mapping",
}

_SAYINGS: Final[Mapping[str, Callable[[ErrorDetails, Mapping[str, Any]], str]]] = {
    "missing": _missing,
    "int_from_float": lambda _details, _context: "must be a whole number",
    "finite_number": lambda _details, _context: "must be a finite number",
    "literal_error": _choice,
    "string_too_short": lambda _details, _context: "must not be empty",
    "too_short": lambda _details, context: f"must have {context['min_length']} characters or more",
    "greater_than": lambda _details, context: f"must be more than {context['gt']:g}",
    "greater_than_equal": lambda _details, context: f"must be at least {context['ge']:g}",
    "less_than_equal": lambda _details, context: f"must be at most {context['le']:g}",
}

_KINDS: Final[Mapping[type, str]] = {
    type(None): "empty",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    Mapping: "a mapping",
    list: "a list",
    tuple: "a list",
}
