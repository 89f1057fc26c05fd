"""Variables of the environment that a file names, and values to read it with where they are not set.

Whether a file can be migrated does not depend on where that is asked: secrets are seldom at hand there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from crplugins.settings.environment import LITELLM_PREFIX

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ADDRESSES: Final = ("base", "url", "endpoint", "host")
_NUMBERS: Final = ("rpm", "tpm", "timeout", "retries", "time", "weight", "order", "port", "seconds", "cost")
_ADDRESS: Final = "https://address.invalid/v1"
_NUMBER: Final = "1"
_TEXT: Final = "not-set-where-this-was-read"
_MODEL: Final = f"openai/{_TEXT}"


def with_stand_ins(data: Any, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment with a value for every variable that the configuration names, and the names of those it lacks."""
    found: dict[str, str] = {}
    for key, name in _named("", data):
        if name not in environ:
            found.setdefault(name, _stand_in(key))
    return {**environ, **found}, sorted(found)


def names_in(text: str) -> list[str]:
    """The variables in one text."""
    if text.startswith(LITELLM_PREFIX):
        return [text.removeprefix(LITELLM_PREFIX)]
    return _REFERENCE.findall(text)


def _named(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        for name in names_in(value):
            yield key, name
    elif isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _named(str(inner), item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _named(key, item)


def _stand_in(key: str) -> str:
    """What would be a value of a key with this name."""
    if key == "model":
        return _MODEL  # a name without a provider that litellm knows would be none that can be served
    if any(part in key for part in _ADDRESSES):
        return _ADDRESS
    return _NUMBER if any(part in key for part in _NUMBERS) else _TEXT
