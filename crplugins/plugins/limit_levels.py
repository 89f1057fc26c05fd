"""LimitLevel: how one limit of one caller stands, for people and dashboards to read."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crplugins.core.principal import Principal
from crplugins.plugins.limit_bounds import Bound, Scope, all_bounds_of
from crplugins.plugins.limit_reservations import Reservations
from crplugins.plugins.limit_rules import LimitRules


class LimitLevel(NamedTuple):
    """One limit.

    Attributes:
        limit: its name, such as `tokens_per_minute`.
        scope: `key`, `key_and_model` or `team`.
        owner: the key or team.
        model: the one it is for; "" for all.
        used, amount: requests or tokens.
        reset: milliseconds until nothing of it is used.
        shadow: whether it only notes what it would refuse.
    """

    limit: str
    scope: Scope
    owner: str
    model: str
    used: int
    amount: int
    reset: int
    shadow: bool


async def read_levels(
    reservations: Reservations, rules: LimitRules, principals: Iterable[Principal]
) -> list[LimitLevel]:
    """All limits of these callers, each once, in one look. Raises `StoreUnavailable`."""
    found = {bound.limit.key: bound for principal in principals for bound in all_bounds_of(rules, principal)}
    return await _read(reservations, list(found.values()))


async def _read(reservations: Reservations, bounds: Sequence[Bound]) -> list[LimitLevel]:
    if not bounds:
        return []
    levels = await reservations.levels([bound.limit for bound in bounds])
    return [
        LimitLevel(b.measure.name, b.scope, b.owner, b.model, level.used, b.limit.amount, level.reset, b.shadow)
        for b, level in zip(bounds, levels, strict=True)
    ]
