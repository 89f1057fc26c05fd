"""Limit: how much of one thing may be used, and what a request takes of it."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

LimitKind = Literal["meter", "window", "lease"]
"""How use becomes free again:

- `meter`: continuously, `amount` per period (a leaky bucket; the same as a token bucket and as GCRA).
- `window`: all at once, at the end of a calendar period (a fixed window).
- `lease`: when the request is over, or when nobody has renewed it for the length of a lease.
"""

NEVER: Final = -1
"""The wait of a charge that will never be admitted: it is larger than the limit."""


class Limit(msgspec.Struct, frozen=True):
    """One limit.

    Attributes:
        key: whose and of what, such as `key/team-a/requests/60000`: under it the store keeps the state. No two limits
            of one call have the same key.
        amount: how much per period, of a meter at least 1; of a lease, how many at once.
        period: of a meter its length, of a window the time of its end, in milliseconds (since 1970 for a time).
            A window's key contains its period too, so that each window has a state of its own. 0 for a lease.
        burst: how much of a meter may be used at once; equal to its amount unless something else is wanted.
    """

    kind: LimitKind
    key: str
    amount: int
    period: int = 0
    burst: int = 0


class Charge(msgspec.Struct, frozen=True):
    """What a request takes of a limit: requests, tokens or millionths of a US dollar; 1 of a lease.

    A cost of 0 takes nothing, and is still refused if nothing remains.
    """

    limit: Limit
    cost: int


class Level(msgspec.Struct, frozen=True):
    """The level of a limit before a charge: how much is `used`, and the milliseconds until none of it is."""

    used: int
    reset: int


class LimitReading(msgspec.Struct, frozen=True):
    """The level of a limit, and of a meter also `recent`: about how much was charged in the last period.

    A meter that is used steadily drains as fast as it fills, so its level says nothing about how much of it is used.
    """

    used: int
    reset: int
    recent: int


class Decision(msgspec.Struct, frozen=True):
    """The result of a reservation.

    Attributes:
        refused: index of the charge that has to wait longest; None if all were admitted.
        wait: milliseconds until that one would be admitted, at least 1; `NEVER` if it never will.
        levels: one for each charge, in their order, before the charge.
    """

    refused: int | None
    wait: int
    levels: tuple[Level, ...]


class Reservation(msgspec.Struct, frozen=True):
    """What an admitted request holds until it is settled, or until its lease expires.

    Attributes:
        id: the request's.
        charges: what was reserved.
    """

    id: str
    charges: tuple[Charge, ...]

    def costing(self, costs: Sequence[int]) -> "Reservation":
        """The same with other costs."""
        return Reservation(self.id, tuple(map(Charge, [charge.limit for charge in self.charges], costs)))
