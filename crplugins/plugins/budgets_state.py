"""BudgetState: how a budget stands, for people and dashboards to read."""

from datetime import datetime
from typing import NamedTuple

from crplugins.core.principal import Period
from crplugins.limits.limit import Level
from crplugins.plugins.budgets_windows import NO_END, BudgetWindow, Scope


class BudgetState(NamedTuple):
    """One budget in the period that is now.

    Attributes:
        spent, amount: micro-USD; what running requests have reserved counts as spent.
        reset: when the period ends (UTC); None for one that does not.
        warned: whether `warn_at` has been reached.
    """

    scope: Scope
    owner: str
    period: Period
    spent: int
    amount: int
    reset: datetime | None
    warned: bool


def budget_state(window: BudgetWindow, level: Level) -> BudgetState:
    reset = None if window.end == NO_END else window.end
    warned = level.used >= window.warn_at
    return BudgetState(window.scope, window.owner, window.period, level.used, window.limit.amount, reset, warned)


def describe(window: BudgetWindow, spent: int) -> str:
    """A sentence for a log."""
    of = f"{window.scope} {window.owner} has spent {spent / 1e6:.2f} of {window.limit.amount / 1e6:.2f} USD"
    return of if window.period == "total" else f"{of} of this {window.period}"
