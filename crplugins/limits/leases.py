"""Leases: the limits on how many at once, of which a holder gives back its own, or loses it when its time is over."""

from typing import Final

from crplugins.limits.arithmetic import judge_lease
from crplugins.limits.ends import Ends
from crplugins.limits.limit import Level, Limit


class Holders:
    """When the leases of one limit run out, by holder.

    Counting them takes the same time however many there are, but for once in the life of a lease.
    """

    __slots__ = ("_earliest", "ends")

    def __init__(self, ends: dict[str, int]) -> None:
        self.ends: Final = ends
        self._earliest = 0  # none runs out before

    def live(self, now: int) -> int:
        """How many have not run out. Those that have are dropped."""
        if self._earliest <= now:
            for holder in [holder for holder, end in self.ends.items() if end <= now]:
                del self.ends[holder]
            self._earliest = min(self.ends.values(), default=now + 1)
        return len(self.ends)

    def hold(self, holder: str, end: int) -> None:
        self.ends[holder] = end
        if end < self._earliest:
            self._earliest = end


class Leases:
    """Their holders by key."""

    __slots__ = ("_ends", "states")

    def __init__(self, ends: Ends) -> None:
        self.states: Final[dict[str, Holders]] = {}
        self._ends: Final = ends

    def weigh(self, limit: Limit, cost: int, now: int) -> tuple[float, int, Level]:
        """How many are held, how long a charge has to wait, and the level."""
        holders = self.states.get(limit.key)
        live = holders.live(now) if holders else 0
        wait, level = judge_lease(limit, cost, live)
        return live, wait, level

    def take(self, limit: Limit, _used: float, holder: str, _now: float, end: int) -> None:
        holders = self.states.get(limit.key)
        if holders is None:
            holders = self.states[limit.key] = Holders({})
            self._ends.add(end, self, limit.key)
        holders.hold(holder, end)

    def settle(self, limit: Limit, _difference: int, holder: str, _debt: float, _now: float) -> None:
        if limit.key in self.states:
            self.states[limit.key].ends.pop(holder, None)

    def renew(self, key: str, holder: str, end: int) -> None:
        if key in self.states:
            self.states[key].hold(holder, end)

    def end(self, key: str) -> float:
        return max(self.states[key].ends.values(), default=0)

    def forget(self, key: str) -> None:
        del self.states[key]
