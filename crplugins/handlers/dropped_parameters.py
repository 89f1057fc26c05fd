"""`additional_drop_params`: what the configuration takes off every request of a deployment, in LiteLLM's words.

A name is a parameter. A path leads into one: `tools[*].function.strict`, `metadata.trace`, `tools[0].type`.
"""

from collections.abc import Sequence
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.lenient_json import decode_with_halves

_EACH: Final = "[*]"

_LONGEST_PLACE: Final = 10

Step = str | int
"""A member of an object, a place in an array, or each of its places."""


class DroppedParameters:
    def __init__(self, given: object) -> None:
        paths = [_steps(each) for each in dropped_names(given)]
        self._names: Final = [str(path[0]) for path in paths if len(path) == 1]
        self._paths: Final = [path for path in paths if len(path) > 1]

    def take_from(self, body: Body) -> None:
        for name in self._names:
            body.remove(name)
        for first, *path in self._paths:
            name = str(first)
            raw = body.bytes_of(name)
            if raw is not None and _take(value := decode_with_halves(raw), path):
                body.set(name, value)


def dropped_names(given: object) -> list[str]:
    """The names and paths in a value of the configuration. One alone may stand without a list; others say nothing."""
    listed = [given] if isinstance(given, str) else given
    return [each for each in listed if isinstance(each, str) and each] if isinstance(listed, list | tuple) else []


def _steps(path: str) -> list[Step]:
    steps = list[Step]()
    for step in path.replace("[", ".[").split("."):
        if step.startswith("[") and step.endswith("]"):
            inner = step[1:-1].strip("'\"")
            is_place = inner.isascii() and inner.isdigit() and len(inner) < _LONGEST_PLACE
            steps.append(int(inner) if is_place else _EACH if step == _EACH else inner)
        elif step:
            steps.append(step)
    return steps or [path]


def _take(value: Any, path: Sequence[Step]) -> bool:
    """Take off what a path leads to. Whether there was anything."""
    values, (*before, last) = [value], path
    for step in before:
        values = [found for each in values for found in _found(each, step)]
    return sum(_removed(each, last) for each in values) > 0


def _found(value: Any, step: Step) -> list[Any]:
    if step == _EACH:
        return value if isinstance(value, list) else []
    if isinstance(step, int):
        return value[step : step + 1] if isinstance(value, list) else []
    return [value[step]] if isinstance(value, dict) and step in value else []


def _removed(value: Any, step: Step) -> bool:
    if step == _EACH and isinstance(value, list):
        had = bool(value)
        value.clear()
        return had
    if isinstance(step, int) and isinstance(value, list) and step < len(value):
        del value[step]
        return True
    return isinstance(step, str) and isinstance(value, dict) and value.pop(step, value) is not value
