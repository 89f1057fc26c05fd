"""Windows: the limits of which all use goes away at the end of a calendar period."""

from typing import Final

from crplugins.limits.arithmetic import judge_window, window_end
from crplugins.limits.ends import Ends
from crplugins.limits.limit import Level, Limit

_NEW: Final = (0, 0)


class Windows:
    """What is used of each, by key, and until when that has to be remembered."""

    __slots__ = ("_ends", "states")

    def __init__(self, ends: Ends) -> None:
        self.states: Final[dict[str, tuple[int, int]]] = {}
        self._ends: Final = ends

    def weigh(self, limit: Limit, cost: int, now: int) -> tuple[float, int, Level]:
        """What is used, how long a charge has to wait, and the level."""
        used = self.states.get(limit.key, _NEW)[0]
        wait, level = judge_window(limit, cost, used, now)
        return used, wait, level

    def take(self, limit: Limit, used: float, _holder: str, _now: float, _end: int) -> None:
        self._set(limit, int(used))

    def settle(self, limit: Limit, difference: int, _holder: str, _debt: float, _now: float) -> None:
        """A late refund is for its own window or for none."""
        if difference and limit.key in self.states:
            self._set(limit, self.states[limit.key][0] + difference)

    def seed(self, limit: Limit, used: int) -> None:
        if used > self.states.get(limit.key, _NEW)[0]:
            self._set(limit, used)

    def end(self, key: str) -> float:
        return self.states[key][1]

    def forget(self, key: str) -> None:
        del self.states[key]

    def _set(self, limit: Limit, used: int) -> None:
        end = window_end(limit)
        if limit.key not in self.states:
            self._ends.add(end, self, limit.key)
        self.states[limit.key] = used, end
