"""States: what is used of limits and who has reserved it; one step of a store is one call."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from crplugins.limits.arithmetic import deciding
from crplugins.limits.ends import Ends
from crplugins.limits.leases import Leases
from crplugins.limits.limit import Decision, Level, Limit, LimitKind, Reservation
from crplugins.limits.meters import Meters
from crplugins.limits.windows import Windows


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
