"""Warnings about aliases that are allowed but may not be meant."""

from collections.abc import Iterable, Iterator, Sequence

from crplugins.core.patterns import NameSet
from crplugins.plugins.aliases_table import AliasMap, AliasTable, Entry


def shadows(table: AliasTable, served: Sequence[str] | None) -> list[str]:
    """One sentence for each finding, in the order of the configuration.

    An alias that hides a served model, an alias that a team's pattern makes unreachable, and a target that nobody
    serves. `served` are the names and patterns that are served; None if that is not known, as before a foreign app.
    """
    found: list[str] = []
    (shared,) = table.gateway.maps
    own = [view.maps[0] for view in table.teams.values()]
    for aliases in (shared, *own):
        found += _hidden_models(aliases, served or ())
    for aliases in own:
        found += _unreachable(aliases, shared)
    if served is not None:
        found += _dangling(table, NameSet(served))
    return found


def _hidden_models(aliases: AliasMap, served: Iterable[str]) -> Iterator[str]:
    hidden: dict[Entry, list[str]] = {}
    for name in served:
        entry = None if "*" in name else aliases.find(name)
        if entry is not None and not _keeps(entry, name):
            hidden.setdefault(entry, []).append(f"'{name}'")
    for entry, names in hidden.items():
        models = "model" if len(names) == 1 else "models"
        yield f"{_spelt(entry)} hides the served {models} {', '.join(names)}"


def _keeps(entry: Entry, name: str) -> bool:
    """Whether `name` is among its own targets: a canary, or a model that its family's pattern leads to."""
    return any(model.filled_from(entry.pattern, name) == name for model in entry.models)


def _unreachable(aliases: AliasMap, shared: AliasMap) -> Iterator[str]:
    """The gateway's aliases that a pattern of a team always comes before; the same name twice is an override."""
    for entry in aliases.patterns:
        covered = [
            f"'{other.pattern.text}'"
            for other in shared
            if entry.pattern.covers(other.pattern) and entry.pattern != other.pattern
        ]
        if covered:
            yield f"{_spelt(entry)} never lets {', '.join(covered)} of the gateway match"


def _dangling(table: AliasTable, served: NameSet) -> Iterator[str]:
    told: set[tuple[Entry, str]] = set()
    for view in (table.gateway, *table.teams.values()):
        for entry in view:
            for model in entry.models:
                if model.star or model.text in served or (entry, model.text) in told:
                    continue
                if view.find(model.text) in (None, entry):
                    told.add((entry, model.text))
                    yield f"{_spelt(entry)} leads to '{model.text}', which is not served"


def _spelt(entry: Entry) -> str:
    return f"the alias '{entry.pattern.text}' of {entry.owner}"
