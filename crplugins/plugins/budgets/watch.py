"""BudgetWatch: which budgets of keys and teams were used, for somebody who looks at them now and then."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from crplugins.core.bounded_map import BoundedMap
from crplugins.plugins.budgets.windows import BudgetWindow

MOST_WATCHED: Final = 100_000


class UsedBudget(NamedTuple):
    """A window that a request has used.

    Attributes:
        refused_at: how much of it was spent when it refused a request; 0 if it has refused none.
    """

    window: BudgetWindow
    refused_at: int


class BudgetWatch:
    """Notes windows at the cost of an assignment each, and gives them away."""

    def __init__(self) -> None:
        self._used: BoundedMap[str, UsedBudget] = BoundedMap(MOST_WATCHED)

    def note(self, windows: Iterable[BudgetWindow], refused_at: int = 0) -> None:
        """A request has used them, or was refused when so much was spent.

        End users and sessions are left out: there are too many of them.
        """
        for window in windows:
            if window.scope in ("key", "team"):
                key = window.limit.key
                before = self._used.get(key)
                self._used[key] = UsedBudget(window, max(refused_at, 0 if before is None else before.refused_at))

    def take(self) -> Mapping[str, UsedBudget]:
        """Those noted since the last call, by the keys of their states."""
        used, self._used = self._used, BoundedMap(MOST_WATCHED)
        return used
