"""KeyCheck: finds misspelt keys, and keys of LiteLLM's that mean nothing here, before values are looked at."""

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from crplugins.config.errors import KeyPath, Problem, spell_path
from crplugins.config.nearest import did_you_mean, nearest
from crplugins.config.section import Section


class KeyCheck:
    """Copies a configuration without the keys that are unknown (`problems`) or ignored (`warnings`)."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def checked(self, value: Any, section: type[Section], path: KeyPath = ()) -> Any:
        """The good part of `value`, a mapping with the keys of `section`; anything else as it is."""
        if not isinstance(value, Mapping):
            return value
        kept = {str(key): item for key, item in value.items() if self._keeps(str(key), section, path)}
        return {key: self._below(item, section, (*path, key)) for key, item in kept.items()}

    def _below(self, value: Any, section: type[Section], path: KeyPath) -> Any:
        field = section.field_of(str(path[-1]))
        inner = _section_of(field.annotation) if field else None
        if field is None or inner is None:
            return value
        shape = get_origin(field.annotation)
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
            self.warnings.append(f"{spell_path((*path, key))} is ignored: {section.ignored[key]}")
            return False
        if key in known or key in section.extras:
            return True
        if not section.keeps_others():
            self.problems.append(Problem((*path, key), f"unknown key{did_you_mean(key, known) or _choice(known)}"))
            return False
        meant = nearest(key, known | section.extras, section.likeness)
        if meant is not None:
            self.problems.append(Problem((*path, key), f"unknown key, did you mean '{meant}'?"))
        return meant is None


def _section_of(annotation: Any) -> type[Section] | None:
    """The Section in a field's type: `Server`, `tuple[Key, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_of(inner))), None)


def _choice(known: set[str]) -> str:
    return f", known are {', '.join(sorted(known))}"
