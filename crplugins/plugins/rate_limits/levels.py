"""LimitLevel: how one limit of one caller stands, for people and dashboards to read."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crplugins.core.principal import Principal
from crplugins.limits.limit import Level
from crplugins.limits.reservations import Reservations
from crplugins.plugins.rate_limits.rules import Bound, LimitRules, Scope, all_bounds_of


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
        burst: how much may be used at once.
    """

    limit: str
    scope: Scope
    owner: str
    model: str
    used: int
    amount: int
    reset: int
    shadow: bool
    burst: int

    @property
    def utilization(self) -> float:
        """0 for nothing used, 1 for nothing left; more than that where a request took more than it had reserved."""
        return self.used / self.burst


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
    return [_level(bound, level) for bound, level in zip(bounds, levels, strict=True)]


def _level(bound: Bound, level: Level) -> LimitLevel:
    limit = bound.limit
    burst = limit.burst if limit.kind == "meter" else limit.amount
    return LimitLevel(
        bound.measure.name,
        bound.scope,
        bound.owner,
        bound.model,
        level.used,
        limit.amount,
        level.reset,
        bound.shadow,
        burst,
    )
