"""Policy: what a caller may do, from the words of a configuration to a Principal and back."""

import dataclasses
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Final, cast, get_args

from crplugins.core.principal import (
    Aliases,
    AliasTarget,
    Budget,
    Limits,
    MissingUsagePolicy,
    OnDisconnect,
    Period,
    Principal,
)
from crplugins.keys.words import Words

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
    return MappingProxyType({alias: _targets(alias, value) for alias, value in words.items()})


def read_aliases(words: Words) -> Aliases:
    """The key `aliases`, as `parse_aliases` reads them; each that cannot be used is a problem."""
    found: dict[str, tuple[AliasTarget, ...]] = {}
    for alias, value in words.mapping("aliases").items():
        try:
            found[alias] = _targets(alias, value)
        except AliasError as error:
            words.refuse("aliases", str(error))
    return MappingProxyType(found)


def spell_aliases(aliases: Aliases) -> dict[str, Any]:
    """As `read_aliases` reads them."""
    return {alias: _spelled(targets) for alias, targets in aliases.items()}


def _targets(alias: str, value: Any) -> tuple[AliasTarget, ...]:
    _check_name(alias, alias)
    items = value if isinstance(value, list | tuple) else [value]
    targets = tuple(_target(alias, item) for item in items)
    if not any(target.weight for target in targets):
        raise AliasError(f"the alias '{alias}' has no target with a weight above 0", alias)
    return targets


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


def _spelled(targets: tuple[AliasTarget, ...]) -> Any:
    if len(targets) == 1 and targets[0].weight == 1:
        return targets[0].model
    return [{"model": target.model, "weight": target.weight} for target in targets]


POLICY_KEYS: Final = (
    "id", "team", "owner", "tags", "models", "aliases", "limits", "budget", "on_disconnect", "missing_usage",
)  # fmt: skip
LIMIT_KEYS: Final = tuple(field.name for field in dataclasses.fields(Limits) if field.name not in ("burst", "shadow"))
"""The limits themselves; `burst` and `shadow` stand beside them."""

BURST_KEYS: Final = tuple(name for name in LIMIT_KEYS if "_per_" in name)
"""Those that go by time. How many requests run in parallel does not."""

_PERIODS: Final[tuple[str, ...]] = get_args(Period)


def read_policy(words: Words) -> Principal:
    """The principal; what is wrong in `words` is left out of it and noted there."""
    return Principal(
        words.required_text("id"),
        team=words.text("team"),
        owner=words.text("owner"),
        tags=_tags(words),
        models=words.texts("models"),
        aliases=read_aliases(words),
        limits=_limits(words),
        budget=_budget(words),
        on_disconnect=cast("OnDisconnect | None", words.one_of("on_disconnect", get_args(OnDisconnect))),
        missing_usage=cast("MissingUsagePolicy | None", words.one_of("missing_usage", get_args(MissingUsagePolicy))),
    )


def spell_policy(principal: Principal) -> dict[str, Any]:
    """As `read_policy` reads it, without what is not set; plain data that JSON and YAML can write."""
    words = {
        "id": principal.key_id,
        "team": principal.team,
        "owner": principal.owner,
        "tags": dict(principal.tags) or None,
        "models": None if principal.models is None else list(principal.models),
        "aliases": spell_aliases(principal.aliases) or None,
        "limits": spell_limits(principal.limits) or None,
        "budget": principal.budget and spell_budget(principal.budget),
        "on_disconnect": principal.on_disconnect,
        "missing_usage": principal.missing_usage,
    }
    return {name: value for name, value in words.items() if value is not None}


def spell_limits(limits: Limits) -> dict[str, Any]:
    """What is set."""
    words: dict[str, Any] = {name: getattr(limits, name) for name in LIMIT_KEYS}
    words |= {"burst": dict(limits.burst) or None, "shadow": limits.shadow or None}
    return {name: value for name, value in words.items() if value is not None}


def spell_budget(budget: Budget) -> dict[str, Any]:
    usd = Decimal(budget.micro_usd) / 1_000_000
    return {"usd": int(usd) if usd == int(usd) else float(usd), "period": budget.period}


def _tags(words: Words) -> Mapping[str, str]:
    tags = words.mapping("tags")
    if not all(isinstance(part, str) for item in tags.items() for part in item):
        words.refuse("tags", "must be texts; put numbers, true and false in quotes")
        return MappingProxyType({})
    return MappingProxyType(dict(tags))


def _limits(words: Words) -> Limits:
    if "limits" not in words:
        return Limits()
    known = (*LIMIT_KEYS, "burst", "shadow")
    inner = Words(words.raw("limits"), known, (*words.path, "limits"), words.problems)
    amounts = {name: inner.count(name) for name in LIMIT_KEYS}
    return Limits(**amounts, burst=_burst(inner), shadow=inner.flag("shadow", default=False))


def _burst(limits: Words) -> Mapping[str, int]:
    if "burst" not in limits:
        return MappingProxyType({})
    inner = Words(limits.raw("burst"), BURST_KEYS, (*limits.path, "burst"), limits.problems)
    found = {name: inner.count(name) for name in BURST_KEYS}
    for name in found:
        if name in inner and name not in limits:
            inner.refuse(name, "is the burst of a limit that is not given")
    return MappingProxyType({name: count for name, count in found.items() if count is not None})


def _budget(words: Words) -> Budget | None:
    if "budget" not in words:
        return None
    inner = Words(words.raw("budget"), ("usd", "period"), (*words.path, "budget"), words.problems)
    micro_usd, period = _micro_usd(inner.raw("usd")), inner.raw("period")
    if micro_usd is None:
        inner.refuse("usd", "must be an amount such as 50 or 12.50")
    if period not in _PERIODS:
        inner.refuse("period", f"must be one of {', '.join(_PERIODS)}")
    return Budget(micro_usd or 0, cast("Period", period))


def _micro_usd(value: Any) -> int | None:
    """Millionths of an amount; None for what is none. Through Decimal: 0.1 is exact."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return int((amount * 1_000_000).to_integral_value()) if amount.is_finite() and amount >= 0 else None
