"""LimitLevel: how much of one limit of one caller is used, for people and dashboards to read."""

from collections.abc import Iterable
from typing import NamedTuple

from crplugins.core.principal import Principal
from crplugins.limits.limit import Level, LimitReading
from crplugins.limits.reservations import Reservations
from crplugins.plugins.rate_limits.responses import remaining_of
from crplugins.plugins.rate_limits.rules import AppliedLimit, LimitRules, Scope, limits_of_caller


class LimitLevel(NamedTuple):
    """One limit and its level.

    Attributes:
        limit: its name, such as `tokens_per_minute`.
        scope: `key`, `key_and_model` or `team`.
        owner: the key or team.
        model: the one that it is for; "" for all.
        used: requests or tokens that are not available now, because they have not drained or are held.
        amount: requests or tokens, in a period or at once.
        reset: milliseconds until nothing of it is used any more.
        shadow: whether requests that it would refuse are only logged and counted.
        burst: how much may be used at once.
        recent: about how much was used in the last period; of requests at once, how many there are.
        remaining: what may be used now, as the headers of an answer say it.
        period: milliseconds; 0 for requests at once.
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
    recent: int
    remaining: int
    period: int

    @property
    def utilization(self) -> float:
        """The share of the limit that was used in the last period; 1 or more while nothing remains of it.

        The level alone would not do: it drains as fast as a caller uses, who comes steadily and not too often. Nor
        would the last period: what was used beyond the limit is repaid for longer.
        """
        return max(self.recent / self.amount, self.used / self.burst)


async def read_levels(
    reservations: Reservations, rules: LimitRules, principals: Iterable[Principal]
) -> list[LimitLevel]:
    """All limits of these callers, each once, with one call of the store. Raises `StoreUnavailable`."""
    found = {each.limit.key: each for principal in principals for each in limits_of_caller(rules, principal)}
    if not found:
        return []
    uses = await reservations.levels([each.limit for each in found.values()])
    return [_level(each, use) for each, use in zip(found.values(), uses, strict=True)]


def _level(applied: AppliedLimit, use: LimitReading) -> LimitLevel:
    limit = applied.limit
    burst = limit.burst if limit.kind == "meter" else limit.amount
    return LimitLevel(
        applied.measure.name,
        applied.scope,
        applied.owner,
        applied.model,
        use.used,
        limit.amount,
        use.reset,
        applied.shadow,
        burst,
        use.recent,
        max(0, remaining_of(limit, Level(use.used, use.reset))),
        limit.period,
    )
