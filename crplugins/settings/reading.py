"""Reading: a value as a section, or everything that is wrong with it: first its keys, then its values."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import ValidationError

from crplugins.settings.errors import ConfigError, KeyPath, Problem, did_you_mean, format_path, nearest
from crplugins.settings.section import Section
from crplugins.settings.wrong_values import wrong_values

_LONGEST_NAME: Final = 48
"""Of a key of ours and of LiteLLM's."""

S = TypeVar("S", bound=Section)


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
        if shape is Mapping and isinstance(value, Mapping):  # names of somebody's own, and a section after each
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
