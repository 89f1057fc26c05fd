"""States: what is used of limits and who has reserved it; one step of a store is one call."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush, heapreplace
from itertools import count
from typing import Final, Protocol

from crplugins.limits.arithmetic import (
    Meter,
    decayed,
    deciding,
    judge_lease,
    judge_meter,
    judge_window,
    meter_end,
    meter_settled,
    window_end,
)
from crplugins.limits.limit import Decision, Level, Limit, LimitKind, Reservation


class Forgetting(Protocol):
    """What remembers something by key."""

    def end(self, key: str) -> float:
        """Until when it has to be remembered, as of now, in milliseconds since 1970."""

    def forget(self, key: str) -> None: ...


class Ends:
    """A queue with one entry for each thing remembered.

    An end that has moved is noticed when the old one has come: a thing that is used a thousand times in its life is
    not moved about in the queue as often.
    """

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: Final[list[tuple[float, int, Forgetting, str]]] = []
        self._numbers: Final = count()  # so that no two entries are compared by what they stand for

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, end: float, owner: Forgetting, key: str) -> None:
        heappush(self._heap, (end, next(self._numbers), owner, key))

    def forget(self, now: int, most: int) -> None:
        """Forget what has ended, looking at up to `most` things."""
        heap = self._heap
        while most and heap and heap[0][0] <= now:
            self._look_at_first(now)
            most -= 1

    def _look_at_first(self, now: int) -> None:
        _, number, owner, key = self._heap[0]
        end = owner.end(key)
        if end > now:
            heapreplace(self._heap, (end, number, owner, key))
        else:
            heappop(self._heap)
            owner.forget(key)


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


class States:
    """What `LimitStore` promises, without waiting for anything. Moments are milliseconds since 1970.

    Attributes:
        reserved: when each reservation runs out, by its id.
    """

    __slots__ = ("_ends", "_of", "leases", "meters", "reserved", "windows")

    def __init__(self) -> None:
        self._ends: Final = Ends()
        self.meters: Final = Meters(self._ends)
        self.windows: Final = Windows(self._ends)
        self.leases: Final = Leases(self._ends)
        self.reserved: Final[OrderedDict[str, int]] = OrderedDict()
        self._of: Final[Mapping[LimitKind, Meters | Windows | Leases]] = {
            "meter": self.meters,
            "window": self.windows,
            "lease": self.leases,
        }

    def __len__(self) -> int:
        return len(self._ends) + len(self.reserved)

    def reserve(self, reservation: Reservation, lease: int, now: int) -> Decision:
        of, (holder, charges) = self._of, reservation
        weighed = [of[limit.kind].weigh(limit, cost, now) for limit, cost in charges]
        used, waits, levels = zip(*weighed, strict=True) if weighed else ((), (), ())
        if any(waits):
            refused = deciding(waits)
            return Decision(refused, waits[refused], levels)
        at, end = float(now), now + lease
        for (limit, cost), before in zip(charges, used, strict=True):
            of[limit.kind].take(limit, before + cost, holder, at, end)
        self.reserved[holder] = end
        return Decision(None, 0, levels)

    def settle(self, reservation: Reservation, costs: Sequence[int], debt: float, now: int) -> bool:
        of, (holder, charges) = self._of, reservation
        if len(costs) != len(charges):
            raise ValueError(f"{len(costs)} costs for {len(charges)} charges")
        if self.reserved.pop(holder, 0) <= now:
            return False
        at = float(now)
        for (limit, reserved), cost in zip(charges, costs, strict=True):
            of[limit.kind].settle(limit, cost - reserved, holder, debt, at)
        return True

    def renew(self, reservations: Sequence[Reservation], lease: int, now: int) -> None:
        for reservation in reservations:
            if self.reserved.get(reservation.id, 0) > now:
                self.reserved[reservation.id] = now + lease
                self.reserved.move_to_end(reservation.id)
                for limit, _ in reservation.charges:
                    if limit.kind == "lease":
                        self.leases.renew(limit.key, reservation.id, now + lease)

    def levels(self, limits: Sequence[Limit], now: int) -> tuple[Level, ...]:
        return tuple([self._of[limit.kind].weigh(limit, 0, now)[2] for limit in limits])

    def forget(self, now: int, most: int) -> None:
        """Drop up to `most` states that have no effect any more, and as many reservations that have run out."""
        self._ends.forget(now, most)
        reserved = self.reserved
        # The first is the one that was reserved or renewed first: it runs out first, or soon enough.
        while most and reserved and next(iter(reserved.values())) <= now:
            reserved.popitem(last=False)
            most -= 1
