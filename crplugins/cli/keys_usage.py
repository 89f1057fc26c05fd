"""How the limits and the budget of a key stand, for `crplugins keys show`."""

import asyncio
from typing import Any

from crplugins.config import Config
from crplugins.core.principal import Principal
from crplugins.keys.desk import spell_moment
from crplugins.limits.opening import open_limit_store
from crplugins.limits.reservations import Reservations
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.budgets.plugin import Budgets, BudgetState
from crplugins.plugins.rate_limits.levels import LimitLevel
from crplugins.plugins.rate_limits.plugin import RateLimits

IN_MEMORY = "limits are kept in the memory of the gateway: see its /metrics"


class NoStanding(Exception):
    """How the limits stand cannot be seen from here. The text says why."""


def standing_of(config: Config, principal: Principal) -> list[dict[str, Any]]:
    """One entry for each limit and budget of the key and its team: its name, whose it is, used, amount, reset.

    Raises `NoStanding` where only the gateway itself knows.
    """
    if config.limits.store == "memory":
        raise NoStanding(IN_MEMORY)
    try:
        return asyncio.run(_read(config, principal))
    except StoreUnavailable:
        raise NoStanding("the store of limits does not answer") from None


async def _read(config: Config, principal: Principal) -> list[dict[str, Any]]:
    reservations = Reservations(open_limit_store(config.limits.store))
    rate_limits = RateLimits(config.limits.rules(), store=reservations)
    budgets = Budgets(config.budgets.key(), config.budgets.teams(), store=reservations)
    async with rate_limits, budgets:
        levels = await rate_limits.levels_of(principal)
        states = await budgets.states_of(principal)
    return [*map(_level, levels), *map(_state, states)]


def _level(level: LimitLevel) -> dict[str, Any]:
    whose = f"{level.owner}, {level.model}" if level.model else level.owner
    return {
        "limit": level.limit,
        "scope": level.scope,
        "of": whose,
        "used": level.used,
        "amount": level.amount,
        "reset_seconds": level.reset / 1000,
    }


def _state(state: BudgetState) -> dict[str, Any]:
    return {
        "limit": f"budget per {state.period}" if state.period != "total" else "budget",
        "scope": state.scope,
        "of": state.owner,
        "used": state.spent / 1e6,
        "amount": state.amount / 1e6,
        "reset": None if state.reset is None else spell_moment(state.reset),
    }
