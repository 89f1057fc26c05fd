"""LimitLevel: how much of one limit of one caller is used, for people and dashboards to read."""

from collections.abc import Iterable
from typing import NamedTuple

from crplugins.core.principal import Principal
from crplugins.limits.limit import Level
from crplugins.limits.reservations import Reservations
from crplugins.plugins.rate_limits.rules import AppliedLimit, LimitRules, Scope, limits_of_caller


class LimitLevel(NamedTuple):
    """One limit and its level.

    Attributes:
        limit: its name, such as `tokens_per_minute`.
        scope: `key`, `key_and_model` or `team`.
        owner: the key or team.
        model: the one that it is for; "" for all.
        used, amount: requests or tokens.
        reset: milliseconds until nothing of it is used any more.
        shadow: whether requests that it would refuse are only logged and counted.
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
        """0 when nothing is used, 1 when nothing remains; more if requests took more than they had reserved."""
        return self.used / self.burst


async def read_levels(
    reservations: Reservations, rules: LimitRules, principals: Iterable[Principal]
) -> list[LimitLevel]:
    """All limits of these callers, each once, with one call of the store. Raises `StoreUnavailable`."""
    found = {each.limit.key: each for principal in principals for each in limits_of_caller(rules, principal)}
    if not found:
        return []
    levels = await reservations.levels([each.limit for each in found.values()])
    return [_level(each, level) for each, level in zip(found.values(), levels, strict=True)]


def _level(applied: AppliedLimit, level: Level) -> LimitLevel:
    limit = applied.limit
    burst = limit.burst if limit.kind == "meter" else limit.amount
    return LimitLevel(
        applied.measure.name,
        applied.scope,
        applied.owner,
        applied.model,
        level.used,
        limit.amount,
        level.reset,
        applied.shadow,
        burst,
    )
