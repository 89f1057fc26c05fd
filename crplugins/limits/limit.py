"""Limit: one bound on one thing, and what a request takes of it."""

from typing import Final, Literal, NamedTuple

LimitKind = Literal["meter", "window", "lease"]
"""How use goes away again:

- `meter`: continuously, `amount` per period (a leaky bucket; the same as a token bucket and as GCRA).
- `window`: all at once, at the end of a calendar period.
- `lease`: when the request is over, or when nobody has renewed it for the length of a lease.
"""

NEVER: Final = -1
"""A wait after which nothing would be different: the request is larger than the limit."""


class Limit(NamedTuple):
    """A bound.

    Attributes:
        key: whose and of what, such as `key/team-a/requests/60000`: where its state is. Distinct within one call.
        amount: how much per period, of a meter at least 1; of a lease, how many at once.
        period: of a meter its length, of a window the moment of its end, in milliseconds (since 1970 for a moment).
            A window's key holds its period too, so that each has a state of its own. 0 for a lease.
        burst: how much of a meter may be used at once; its amount, if nothing else is wanted.
    """

    kind: LimitKind
    key: str
    amount: int
    period: int = 0
    burst: int = 0


class Charge(NamedTuple):
    """What a request takes of a limit: requests, tokens or millionths of a US dollar; 1 of a lease.

    0 takes nothing and still asks whether anything is left.
    """

    limit: Limit
    cost: int


class Level(NamedTuple):
    """How a limit stands before a charge: `used` of it, and the milliseconds until nothing of that is left."""

    used: int
    reset: int


class Decision(NamedTuple):
    """The answer to a reservation.

    Attributes:
        refused: index of the charge that has to wait longest; None if all were admitted.
        wait: milliseconds until that one would be admitted, at least 1; `NEVER` if it never will.
        levels: one for each charge, in their order, as they stood before it.
    """

    refused: int | None
    wait: int
    levels: tuple[Level, ...]


class Reservation(NamedTuple):
    """What an admitted request holds until it is settled, or until its lease runs out.

    Attributes:
        id: the request's.
        charges: what was reserved.
    """

    id: str
    charges: tuple[Charge, ...]
