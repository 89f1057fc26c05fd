"""Aliases of a key as a configuration writes them: `{fast: gpt-4o-mini, canary: [{model: a, weight: 9}, ...]}`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from crplugins.core.principal import Aliases, AliasTarget
from crplugins.keys.words import Words

_FORM: Final = "must be a model name, or a list of {model: NAME, weight: N} with a weight above 0"


def read_aliases(words: Words) -> Aliases:
    """The key `aliases`. A `*` stands once in a name; in a target only if it stands in its alias."""
    found: dict[str, tuple[AliasTarget, ...]] = {}
    for alias, value in words.mapping("aliases").items():
        items = value if isinstance(value, list | tuple) else [value]
        targets = [_target(item, star="*" in str(alias)) for item in items]
        good = tuple(target for target in targets if target is not None)
        if len(good) < len(targets) or not any(target.weight for target in good) or not _is_name(alias):
            words.refuse("aliases", f"'{alias}' {_FORM}")
        else:
            found[alias] = good
    return MappingProxyType(found)


def spell_aliases(aliases: Aliases) -> dict[str, Any]:
    """As `read_aliases` reads them."""
    return {alias: _spelled(targets) for alias, targets in aliases.items()}


def _target(item: Any, *, star: bool) -> AliasTarget | None:
    model, weight = item, 1
    if isinstance(item, Mapping):
        model, weight = item.get("model"), item.get("weight", 1)
        if item.keys() - {"model", "weight"}:
            return None
    fits = _is_name(model) and (star or "*" not in model)
    whole = isinstance(weight, int) and not isinstance(weight, bool) and weight >= 0
    return AliasTarget(model, weight) if fits and whole else None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.count("*") <= 1


def _spelled(targets: tuple[AliasTarget, ...]) -> Any:
    if len(targets) == 1 and targets[0].weight == 1:
        return targets[0].model
    return [{"model": target.model, "weight": target.weight} for target in targets]
