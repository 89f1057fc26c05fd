"""What a key may use and has used, for `GET /v1/limits` and for `crplugins keys show`."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from crplugins.core.principal import Period, Principal
from crplugins.core.usage import usd
from crplugins.keys.state import format_moment
from crplugins.plugins.budgets.plugin import Budgets, BudgetState
from crplugins.plugins.rate_limits.levels import LimitLevel
from crplugins.plugins.rate_limits.plugin import RateLimits

ADMIN_PATH: Final = "/admin/limits"
"""Where a gateway shows them to its operator, as `?key=ID`."""

ModelNames = Callable[[Principal, str], Sequence[str]]
"""The names under which a caller may have requests served by a model. None of them: its limits are not the caller's."""

Owner = Annotated[str, Meta(description="The key or the team that it is a limit of.")]
Shadow = Annotated[bool, Meta(description="What it would refuse is only counted, and let through.")]


class LimitLine(Struct, frozen=True):
    """A limit, and how much of it is used now."""

    name: Annotated[str, Meta(description="As in the configuration.", examples=["tokens_per_minute"])]
    scope: Literal["key", "team"]
    owner: Owner
    models: Annotated[
        list[str] | None, Meta(description="Names of a model whose requests alone it counts; null: it counts them all.")
    ]
    limit: Annotated[int, Meta(description="How much may be used in a window, or at once.")]
    burst: Annotated[int, Meta(description="How much of it may be used in a moment, after a pause.")]
    used: Annotated[int, Meta(description="What is not available now; it drains all the time, or is held by requests.")]
    remaining: Annotated[int, Meta(description="What may be used now.")]
    window_seconds: Annotated[float | None, Meta(description="Null for requests at once.")]
    used_in_window: Annotated[int, Meta(description="About how much was used in the last window.")]
    reset_seconds: Annotated[
        float | None, Meta(description="When nothing is used any more, if no request comes; null for requests at once.")
    ]
    shadow: Shadow


class BudgetLine(Struct, frozen=True):
    """A budget in its present period. What running requests may cost counts as spent."""

    scope: Literal["key", "team", "user", "session"]
    owner: Owner
    period: Period
    limit_usd: float
    spent_usd: float
    remaining_usd: float
    resets_at: Annotated[
        str | None,
        Meta(description="When the next period begins (UTC); null if none does.", examples=["2027-01-01T00:00:00Z"]),
    ]
    shadow: Shadow


class CallerLimits(Struct, frozen=True):
    """The limits and budgets of a key and of its team.

    What it shares with others (`per_model`, `global`) is not in it, and neither is what end users and sessions have.
    """

    key: str
    team: str | None
    limits: list[LimitLine]
    budgets: list[BudgetLine]
    object: Literal["limits"] = "limits"


async def read_caller_limits(
    principal: Principal, rate_limits: RateLimits, budgets: Budgets, names_of: ModelNames
) -> CallerLimits:
    """A limit for a model names it as the caller does: an alias may hide what serves its requests.

    Raises `StoreUnavailable`.
    """
    levels = await rate_limits.levels_of(principal)
    models = {level.model: list(names_of(principal, level.model)) for level in levels if level.model}
    return CallerLimits(
        principal.key_id,
        principal.team,
        [_limit(level, models.get(level.model)) for level in levels if not level.model or models[level.model]],
        [_budget(state) for state in await budgets.states_of(principal)],
    )


def _limit(level: LimitLevel, models: list[str] | None) -> LimitLine:
    by_time = level.period > 0
    return LimitLine(
        name=level.limit,
        scope="team" if level.scope == "team" else "key",
        owner=level.owner,
        models=models,
        limit=level.amount,
        burst=level.burst,
        used=max(level.used, level.burst - level.remaining),  # rounded up, as what remains is rounded down
        remaining=level.remaining,
        window_seconds=level.period / 1000 if by_time else None,
        used_in_window=level.recent,
        reset_seconds=level.reset / 1000 if by_time else None,
        shadow=level.shadow,
    )


def _budget(state: BudgetState) -> BudgetLine:
    return BudgetLine(
        scope=state.scope,
        owner=state.owner,
        period=state.period,
        limit_usd=usd(state.amount),
        spent_usd=usd(state.spent),
        remaining_usd=usd(max(0, state.amount - state.spent)),
        resets_at=format_moment(state.reset),
        shadow=state.shadow,
    )
