"""Meters: the limits of which use goes away continuously."""

from typing import Final

from crplugins.limits.arithmetic import Meter, decayed, judge_meter, meter_end, meter_settled
from crplugins.limits.ends import Ends
from crplugins.limits.limit import Level, Limit


class Meters:
    """Their states by key."""

    __slots__ = ("_ends", "states")

    def __init__(self, ends: Ends) -> None:
        self.states: Final[dict[str, Meter]] = {}
        self._ends: Final = ends

    def weigh(self, limit: Limit, cost: int, now: int) -> tuple[float, int, Level]:
        """What is used, how long a charge has to wait, and the level."""
        used = decayed(self.states.get(limit.key), limit, now)
        wait, level = judge_meter(limit, cost, used)
        return used, wait, level

    def take(self, limit: Limit, used: float, _holder: str, now: float, _end: int) -> None:
        if used > 0:
            self._set(limit, used, now)

    def settle(self, limit: Limit, difference: int, _holder: str, debt: float, now: float) -> None:
        if difference:
            used = decayed(self.states.get(limit.key), limit, now)
            self._set(limit, meter_settled(used, difference, limit.amount, debt), now)

    def end(self, key: str) -> float:
        return meter_end(self.states[key])

    def forget(self, key: str) -> None:
        del self.states[key]

    def _set(self, limit: Limit, used: float, now: float) -> None:
        key, state = limit.key, (used, now, limit)
        if key not in self.states:
            self._ends.add(meter_end(state), self, key)
        self.states[key] = state
