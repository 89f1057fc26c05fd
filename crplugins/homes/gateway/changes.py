"""What is different between two configurations, for people: `limits.per_key.requests_per_minute: 60 -> 120`.

No secret is shown. Of what may be one, or may hold one, is said that it has changed.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from decimal import Decimal
from typing import Any, Final

from pydantic import BaseModel

from crplugins.config import Config
from crplugins.config.litellm_params import is_secret
from crplugins.core.redaction import one_line, without_credentials

_LONGEST: Final = 100
"""Characters of a value that are shown."""

_NAMES: Final = {"model_list": "model_name", "keys": "id"}
"""Lists whose entries have names, and what those are called."""

_SECRET_KEYS: Final = frozenset({"secret", "secrets", "hash", "hashes", "pepper", "token", "password"})

_AT_START: Final = (("server", "host"), ("server", "port"), ("server", "uds"), ("metrics", "inter_chunk"))
"""What counts when the process starts, and not after."""


def changes_between(old: Config, new: Config) -> list[str]:
    """One text for each value that is different, in the order of the new configuration.

    Of what is new only what its file says, and of an entry that is gone nothing but that.
    """
    same = _same(old, new)
    before = {place: value for place, value, _ in _all(old, same)}
    after, unsaid = dict[str, Any](), set[str]()
    for place, value, is_said in _all(new, same):
        after[place] = value
        if not is_said:
            unsaid.add(place)
    gone = _within_what_is_gone(before, after)
    places = [(place, before.get(place, _ABSENT), after.get(place, _ABSENT)) for place in {**after, **before}]
    return [
        _text(place, was, now)
        for place, was, now in places
        if was != now
        and not (was is _ABSENT and (now is None or place in unsaid))
        and not (now is _ABSENT and (was is None or place in gone))
    ]


def _within_what_is_gone(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """The places within entries that are gone. They follow the place of their entry."""
    gone, entry = set[str](), None
    for place, value in before.items():
        if entry is not None and place.startswith(entry):
            gone.add(place)
        elif value is True and place not in after:
            entry = f"{place}."
    return gone


def needs_restart(old: Config, new: Config) -> list[str]:
    """The settings that are different, and count at the start of a process alone."""
    before, after = old.model_dump(include={"server", "metrics"}), new.model_dump(include={"server", "metrics"})
    settings = [".".join(path) for path in _AT_START if _found(before, path) != _found(after, path)]
    return settings + (["server.tls"] if (old.server.tls is None) != (new.server.tls is None) else [])


class _Absent:
    """Of a place that is in one of the two alone."""


_ABSENT: Final = _Absent()


def _found(dumped: Mapping[str, Any], path: Iterable[str]) -> Any:
    found: Any = dumped
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _text(place: str, before: Any, after: Any) -> str:
    if before is _ABSENT:
        if after is True and place.endswith("]"):
            return f"{place}: new"  # an entry, whose values follow
        return f"{place}: {_shown(place, after)} (new)"
    if after is _ABSENT:
        return f"{place}: removed"
    was, now = _shown(place, before), _shown(place, after)
    return f"{place} has changed" if _HIDDEN in (was, now) or was == now else f"{place}: {was} -> {now}"


_HIDDEN: Final = "(hidden)"


def _shown(place: str, value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or _may_be_secret(place):
        return _HIDDEN
    return one_line(without_credentials(value) if "://" in value else value, _LONGEST)


def _may_be_secret(place: str) -> bool:
    section, _, rest = place.partition(".")
    words = rest.replace("[", ".").split(".")
    if section.startswith("plugins["):
        return True  # what the options of somebody's plugin hold, nobody knows
    if ".litellm_params." in place:
        parameter, *below = place.partition(".litellm_params.")[2].replace("[", ".").split(".")
        return bool(below) or (is_secret(parameter) and parameter != "api_base")
    return not _SECRET_KEYS.isdisjoint(words)


def _same(old: Config, new: Config) -> frozenset[str]:
    """The places of sections and of entries with names that are equal in both, and need not be looked through."""
    before, after = _parts(old), _parts(new)
    return frozenset(place for place, value in after.items() if place in before and before[place] == value)


def _parts(config: Config) -> dict[str, Any]:
    parts = {name: getattr(config, name) for name in type(config).model_fields}
    for name, named in _NAMES.items():
        if isinstance(parts[name], list | tuple):
            parts.update(_entries(name, parts[name], named))
    return parts


def _all(config: Config, same: Set[str]) -> Iterator[tuple[str, Any, bool]]:
    """The values of all places but those that are the `same`, and whether the configuration says them."""
    for name in type(config).model_fields:
        if name not in same:
            is_said = name in config.model_fields_set
            yield from _below(name, getattr(config, name), is_said=is_said, named=_NAMES.get(name), same=same)


def _below(
    place: str, value: Any, *, is_said: bool, named: str | None = None, same: Set[str] = frozenset()
) -> Iterator[tuple[str, Any, bool]]:
    """The same at and below one place; of lists with names for their entries by these."""
    if isinstance(value, BaseModel):
        extra = value.model_extra or {}
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        for key, item in (fields | extra).items():
            yield from _below(
                f"{place}.{key}", item, is_said=is_said and (key in extra or key in value.model_fields_set)
            )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _below(f"{place}.{key}", item, is_said=is_said)
    elif isinstance(value, list | tuple):
        for below, item in _entries(place, value, named):
            if _name_of(item, named) is not None:
                yield below, True, is_said
            if below not in same:
                yield from _below(below, item, is_said=is_said)
    else:
        yield place, value, is_said


def _entries(place: str, entries: Iterable[Any], named: str | None) -> Iterator[tuple[str, Any]]:
    """Each with its place: by its name, if it has one, else by its number."""
    seen: dict[str, int] = {}
    for number, item in enumerate(entries):
        name = _name_of(item, named)
        if name is None:
            yield f"{place}[{number}]", item
            continue
        seen[name] = seen.get(name, 0) + 1
        again = "" if seen[name] == 1 else f" ({seen[name]})"
        yield f"{place}[{name}{again}]", item


def _name_of(item: Any, named: str | None) -> str | None:
    if named is None:
        return None
    found = item.get(named) if isinstance(item, Mapping) else getattr(item, named, None)
    return found if isinstance(found, str) else None
