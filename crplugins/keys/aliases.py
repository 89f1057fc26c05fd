"""Aliases: other names for models, from the words of a configuration to the core's `Aliases` and back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from crplugins.core.principal import Aliases, AliasTarget

_FORM: Final = "a name, or a list of {model: NAME, weight: N}"


class AliasError(ValueError):
    """An alias that cannot be used. The message names it, `alias` is its key in the configuration."""

    def __init__(self, message: str, alias: str) -> None:
        super().__init__(message)
        self.alias = alias


def parse_aliases(words: Mapping[str, Any]) -> Aliases:
    """`{"fast": "gpt-4o-mini", "canary": [{"model": "a", "weight": 9}, {"model": "b", "weight": 1}]}`.

    A weight is a whole number, 1 if it is left out; 0 keeps a target without sending it anything. A target may hold
    a `*` if the alias has one: it is filled with what that stood for.

    Raises `AliasError`.
    """
    return MappingProxyType({alias: parse_targets(alias, value) for alias, value in words.items()})


def parse_targets(alias: str, value: Any) -> tuple[AliasTarget, ...]:
    """The targets of one alias. Raises `AliasError`."""
    _check_name(alias, alias)
    items = value if isinstance(value, list | tuple) else [value]
    targets = tuple(_target(alias, item) for item in items)
    if not any(target.weight for target in targets):
        raise AliasError(f"the alias '{alias}' has no target with a weight above 0", alias)
    return targets


def aliases_to_dict(aliases: Aliases) -> dict[str, Any]:
    """As `parse_aliases` reads them; plain data."""
    return {alias: _targets_to_plain(targets) for alias, targets in aliases.items()}


def _target(alias: str, item: Any) -> AliasTarget:
    target = _read(alias, item)
    _check_name(alias, target.model)
    if "*" in target.model and "*" not in alias:
        raise AliasError(f"the alias '{alias}' has no *, so its target '{target.model}' cannot have one", alias)
    if isinstance(target.weight, bool) or not isinstance(target.weight, int) or target.weight < 0:
        raise AliasError(f"a weight of the alias '{alias}' is not a whole number of 0 or more", alias)
    return target


def _read(alias: str, item: Any) -> AliasTarget:
    if isinstance(item, AliasTarget):
        return item
    if isinstance(item, str):
        return AliasTarget(item)
    if not isinstance(item, Mapping) or "model" not in item:
        raise AliasError(f"the alias '{alias}' must be {_FORM}", alias)
    if unknown := [str(key) for key in item if key not in ("model", "weight")]:
        raise AliasError(f"the alias '{alias}' has an unknown key '{unknown[0]}'; it must be {_FORM}", alias)
    return AliasTarget(item["model"], item.get("weight", 1))


def _check_name(alias: str, name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise AliasError(f"the alias '{alias}' must be {_FORM}, and no name may be empty", alias)
    if name.count("*") > 1:
        raise AliasError(f"'{name}' has more than one *", alias)


def _targets_to_plain(targets: tuple[AliasTarget, ...]) -> Any:
    if len(targets) == 1 and targets[0].weight == 1:
        return targets[0].model
    return [{"model": target.model, "weight": target.weight} for target in targets]
