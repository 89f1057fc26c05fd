"""LimitTable: the state of limits and reservations in memory, without I/O; every operation of a store is one call.

`MemoryStore` keeps one for the life of the process, the SQLite store fills one from the rows that a transaction needs.

One class for each kind of limit (`Leases`, `Meters`, `Windows`) keeps its states by key and offers the same steps:
`check` a charge, `take` it, `settle` it. They put what they keep into an `ExpiryQueue`, so that memory is freed in the
order of expiry.

Two clocks count, in milliseconds. Meters and windows go by `now`, the wall clock since 1970, for a window ends with its
calendar period. Leases, and reservations with them, go by `steady`, which nobody sets: that a running request holds its
place, and is settled, is no matter of the date.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush, heapreplace
from itertools import count
from typing import Final, Protocol

from crplugins.limits.arithmetic import (
    MeterState,
    charged_meter,
    check_lease,
    check_meter,
    check_window,
    decayed,
    deciding_wait,
    meter_expiry,
    recently_charged,
    settled_meter,
    window_expiry,
)
from crplugins.limits.limit import Decision, Level, Limit, LimitKind, LimitReading, Reservation
from crplugins.limits.store import LEASE_MILLISECONDS


class LimitTable:
    """What `LimitStore` promises, without waiting for anything.

    Attributes:
        reserved: when each reservation expires, by its id, on the steady clock.
    """

    __slots__ = ("_by_kind", "_expiries", "_lease_expiries", "leases", "meters", "reserved", "windows")

    def __init__(self) -> None:
        self._expiries: Final = ExpiryQueue()
        self._lease_expiries: Final = ExpiryQueue()
        self.meters: Final = Meters(self._expiries)
        self.windows: Final = Windows(self._expiries)
        self.leases: Final = Leases(self._lease_expiries)
        self.reserved: Final[OrderedDict[str, int]] = OrderedDict()
        self._by_kind: Final[Mapping[LimitKind, Meters | Windows | Leases]] = {
            "meter": self.meters,
            "window": self.windows,
            "lease": self.leases,
        }

    def __len__(self) -> int:
        return len(self._expiries) + len(self._lease_expiries) + len(self.reserved)

    def reserve(self, reservation: Reservation, lease: int, now: int, steady: int) -> Decision:
        by_kind, charges = self._by_kind, reservation.charges
        self.leases.steady = steady
        checked = [by_kind[charge.limit.kind].check(charge.limit, charge.cost, now) for charge in charges]
        used, waits, levels = zip(*checked, strict=True) if checked else ((), (), ())
        if any(waits):
            refused = deciding_wait(waits)
            for charge in charges:
                by_kind[charge.limit.kind].set_back(charge.limit, now)
            return Decision(refused, waits[refused], levels)
        holder, at, expiry = reservation.id, float(now), steady + lease
        for charge, before in zip(charges, used, strict=True):
            limit = charge.limit
            by_kind[limit.kind].take(limit, before, charge.cost, holder, at, expiry)
        self.reserved[holder] = expiry
        return Decision(None, 0, levels)

    def settle(self, reservation: Reservation, costs: Sequence[int], debt: float, now: int, steady: int) -> bool:
        by_kind, holder, charges = self._by_kind, reservation.id, reservation.charges
        if len(costs) != len(charges):
            raise ValueError(f"{len(costs)} costs for {len(charges)} charges")
        if self.reserved.pop(holder, 0) <= steady:
            return False
        at = float(now)
        for charge, cost in zip(charges, costs, strict=True):
            limit = charge.limit
            by_kind[limit.kind].settle(limit, cost - charge.cost, holder, debt, at)
        return True

    def adjust(self, reservation: Reservation, costs: Sequence[int], debt: float, now: int, steady: int) -> bool:
        if self.reserved.get(reservation.id, 0) <= steady:
            return False
        for charge, cost in zip(reservation.charges, costs, strict=True):
            limit = charge.limit
            if limit.kind != "lease":
                self._by_kind[limit.kind].settle(limit, cost - charge.cost, reservation.id, debt, float(now))
        return True

    def renew(self, reservations: Sequence[Reservation], lease: int, steady: int) -> None:
        for reservation in reservations:
            if self.reserved.get(reservation.id, 0) > steady:
                self.reserved[reservation.id] = steady + lease
                self.reserved.move_to_end(reservation.id)
                for charge in reservation.charges:
                    if charge.limit.kind == "lease":
                        self.leases.renew(charge.limit.key, reservation.id, steady + lease)

    def levels(self, limits: Sequence[Limit], now: int, steady: int) -> tuple[LimitReading, ...]:
        self.leases.steady = steady
        return tuple([self._use(limit, now) for limit in limits])

    def _use(self, limit: Limit, now: int) -> LimitReading:
        level = self._by_kind[limit.kind].check(limit, 0, now)[2]
        recent = level.used
        if limit.kind == "meter":
            recent = recently_charged(self.meters.states.get(limit.key), limit, now)
        return LimitReading(level.used, level.reset, recent)

    def expire(self, now: int, steady: int, most: int) -> None:
        """Remove up to `most` states of each clock that have no effect any more, and as many expired reservations."""
        self._expiries.expire(now, most)
        if self.leases.states:
            self._lease_expiries.expire(steady, most)
        reserved = self.reserved
        # The first is the one that was reserved or renewed first: it expires first, or soon enough.
        while most and reserved and next(iter(reserved.values())) <= steady:
            reserved.popitem(last=False)
            most -= 1


class Meters:
    """The states of meters by key."""

    __slots__ = ("_expiries", "states")

    def __init__(self, expiries: "ExpiryQueue") -> None:
        self.states: Final[dict[str, MeterState]] = {}
        self._expiries: Final = expiries

    def check(self, limit: Limit, cost: int, now: int) -> tuple[float, int, Level]:
        """How much is used, how long a charge has to wait, and the level."""
        used = decayed(self.states.get(limit.key), limit, now)
        wait, level = check_meter(limit, cost, used)
        return used, wait, level

    def take(self, limit: Limit, used: float, cost: int, _holder: str, now: float, _expiry: int) -> None:
        if used + cost > 0:
            before = self.states.get(limit.key)
            self.states[limit.key] = state = charged_meter(before, limit, used + cost, cost, now)
            if before is None:
                self._expiries.add(meter_expiry(state), self, limit.key)

    def set_back(self, limit: Limit, now: int) -> None:
        """Let a meter drain from `now` on that was used by a clock which was ahead: nobody waits for it."""
        state = self.states.get(limit.key)
        if state is not None and state[1] > now:
            self.states[limit.key] = charged_meter(state, limit, state[0], 0, float(now))

    def settle(self, limit: Limit, difference: int, _holder: str, debt: float, now: float) -> None:
        if difference:
            before = self.states.get(limit.key)
            used = settled_meter(decayed(before, limit, now), difference, limit.amount, debt)
            self.states[limit.key] = state = charged_meter(before, limit, used, difference, now)
            if before is None:
                self._expiries.add(meter_expiry(state), self, limit.key)

    def expires_at(self, key: str) -> float:
        return meter_expiry(self.states[key])

    def remove(self, key: str) -> None:
        del self.states[key]


_UNUSED: Final = (0, 0)


class Windows:
    """How much of each window is used and when its state expires, by key."""

    __slots__ = ("_expiries", "states")

    def __init__(self, expiries: "ExpiryQueue") -> None:
        self.states: Final[dict[str, tuple[int, int]]] = {}
        self._expiries: Final = expiries

    def check(self, limit: Limit, cost: int, now: int) -> tuple[float, int, Level]:
        """How much is used, how long a charge has to wait, and the level."""
        used = self.states.get(limit.key, _UNUSED)[0]
        wait, level = check_window(limit, cost, used, now)
        return used, wait, level

    def take(self, limit: Limit, used: float, cost: int, _holder: str, _now: float, _expiry: int) -> None:
        self._set(limit, int(used) + cost)

    def set_back(self, _limit: Limit, _now: int) -> None:
        """A window ends with its period, by whatever clock."""

    def settle(self, limit: Limit, difference: int, _holder: str, _debt: float, _now: float) -> None:
        """A late refund is for its own window or for none."""
        if difference and limit.key in self.states:
            self._set(limit, self.states[limit.key][0] + difference)

    def seed(self, limit: Limit, used: int) -> None:
        if used > self.states.get(limit.key, _UNUSED)[0]:
            self._set(limit, used)

    def expires_at(self, key: str) -> float:
        return self.states[key][1]

    def remove(self, key: str) -> None:
        del self.states[key]

    def _set(self, limit: Limit, used: int) -> None:
        expiry = window_expiry(limit)
        if limit.key not in self.states:
            self._expiries.add(expiry, self, limit.key)
        self.states[limit.key] = used, expiry


class Leases:
    """The holders of leases, by the key of the limit.

    Attributes:
        steady: the time of the present operation on the clock that leases go by, whatever time the steps are given.
    """

    __slots__ = ("_expiries", "states", "steady")

    def __init__(self, expiries: "ExpiryQueue") -> None:
        self.states: Final[dict[str, Holders]] = {}
        self._expiries: Final = expiries
        self.steady = 0

    def check(self, limit: Limit, cost: int, _now: int) -> tuple[float, int, Level]:
        """How many leases are held, how long a charge has to wait, and the level."""
        holders = self.states.get(limit.key)
        live = holders.live(self.steady) if holders else 0
        wait, level = check_lease(limit, cost, live)
        return live, wait, level

    def take(self, limit: Limit, _used: float, _cost: int, holder: str, _now: float, expiry: int) -> None:
        holders = self.states.get(limit.key)
        if holders is None:
            holders = self.states[limit.key] = Holders({})
            self._expiries.add(expiry, self, limit.key)
        holders.hold(holder, expiry)

    def set_back(self, limit: Limit, _now: int) -> None:
        """Let no lease live longer than one taken now: its holder may have died while the clock was ahead."""
        if limit.key in self.states:
            self.states[limit.key].shorten(self.steady + LEASE_MILLISECONDS)

    def settle(self, limit: Limit, _difference: int, holder: str, _debt: float, _now: float) -> None:
        if limit.key in self.states:
            self.states[limit.key].expiries.pop(holder, None)

    def renew(self, key: str, holder: str, expiry: int) -> None:
        if key in self.states:
            self.states[key].hold(holder, expiry)

    def expires_at(self, key: str) -> float:
        return max(self.states[key].expiries.values(), default=0)

    def remove(self, key: str) -> None:
        del self.states[key]


class Holders:
    """When the leases of one limit expire, by holder.

    Counting them takes constant time, however many there are, except once in the life of a lease.
    """

    __slots__ = ("_earliest", "_latest", "expiries")

    def __init__(self, expiries: dict[str, int]) -> None:
        self.expiries: Final = expiries
        self._earliest = 0  # none expires before
        self._latest = max(expiries.values(), default=0)  # and none after

    def live(self, now: int) -> int:
        """How many have not expired. Those that have are removed."""
        if self._earliest <= now and self.expiries:
            for holder in [holder for holder, expiry in self.expiries.items() if expiry <= now]:
                del self.expiries[holder]
            self._earliest = min(self.expiries.values(), default=now + 1)
        return len(self.expiries)

    def hold(self, holder: str, expiry: int) -> None:
        self.expiries[holder] = expiry
        if expiry < self._earliest:
            self._earliest = expiry
        if expiry > self._latest:
            self._latest = expiry

    def shorten(self, end: int) -> None:
        """Let none expire after `end`."""
        if self._latest > end:
            for holder, expiry in self.expiries.items():
                self.expiries[holder] = min(expiry, end)
            self._latest = end
            self._earliest = min(self._earliest, end)


class Expiring(Protocol):
    """Keeps states by key that expire."""

    def expires_at(self, key: str) -> float:
        """Until when the state has to be kept, as far as is known now."""

    def remove(self, key: str) -> None: ...


class ExpiryQueue:
    """A priority queue with one entry for each state, ordered by expiry.

    A state whose expiry has moved is put back only when the old expiry has come: a limit that is used a thousand times
    is not moved in the queue as often.
    """

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: Final[list[tuple[float, int, Expiring, str]]] = []
        self._numbers: Final = count()  # so that no two entries are compared by their owners

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, expiry: float, owner: Expiring, key: str) -> None:
        heappush(self._heap, (expiry, next(self._numbers), owner, key))

    def expire(self, now: int, most: int) -> None:
        """Remove expired states, looking at up to `most` of them."""
        heap = self._heap
        while most and heap and heap[0][0] <= now:
            self._look_at_first(now)
            most -= 1

    def _look_at_first(self, now: int) -> None:
        _, number, owner, key = self._heap[0]
        expiry = owner.expires_at(key)
        if expiry > now:
            heapreplace(self._heap, (expiry, number, owner, key))
        else:
            heappop(self._heap)
            owner.remove(key)
