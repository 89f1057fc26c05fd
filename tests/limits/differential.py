"""Random operations for stores of limits, and the differences between two stores that are given the same ones."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.store import LimitStore
from tests.long import times

COUNT: Final = times(4_000, 100_000)

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE

_METERS: Final = (
    ("key/a/requests/60000", (60, 50, 90), MINUTE),
    ("key/a/tokens/60000", (30_000, 10_000, 45_001), MINUTE),
    ("key/b/tokens/60000", (7, 3), MINUTE),
    ("key/b/requests/1000", (5,), SECOND),
    ("team/x/tokens/86400000", (1_500_000, 2_000_003), DAY),
    ("model/m/tokens/60000", (200_000, 199_999, 1_000_000_007), MINUTE),
    ("key/c/tokens/3600000", (97, 10_007), 60 * MINUTE),
)
_WINDOWS: Final = (
    ("budget/a", (5_000_000, 4_000_000), 10 * SECOND),
    ("budget/x", (50_000_000,), MINUTE),
    ("key/b/requests", (40, 30, 50), DAY),
)
_LEASES: Final = (("key/a/parallel", (2, 1, 3)), ("team/x/parallel", (3,)), ("overall/parallel", (5, 4)))

_STEPS: Final = ((0, 400), (20, 250), (SECOND, 250), (20 * SECOND, 80), (3 * MINUTE, 15), (DAY, 2))
"""How far time goes on at most, and how often."""

_SET_ANEW: Final = (-DAY, -60 * MINUTE, -MINUTE, 60 * MINUTE)
"""By how much somebody sets the clock."""

_DEBTS: Final = (60.0, 1.0, 1.0, 0.25, 0.0, 2.5)


class Operation(NamedTuple):
    """A call of a store's method."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    async def on(self, store: LimitStore) -> Any:
        return await getattr(store, self.method)(*self.arguments, **self.options)


class Difference(NamedTuple):
    """Two stores that answered differently to the operation of that number."""

    number: int
    operation: Operation
    reference: Any
    other: Any


def operations(
    seed: int, count: int = COUNT, *, start: int | None = None, steady: bool = False, set_anew: bool = False
) -> Iterator[Operation]:
    """The same for the same seed and start.

    Args:
        start: milliseconds since 1970, as a rule now: from there time goes on much faster than it really does, so that
            nothing is forgotten too soon by a store that forgets by a clock of its own.
        steady: no limit changes and no request is late, which only matters to a store that has forgotten something.
        set_anew: somebody sets the clock, back too. To a store that has forgotten something meanwhile that matters.
    """
    return islice(_Operations(seed, int(time.time() * 1000) if start is None else start, steady, set_anew), count)


async def differences(
    reference: LimitStore, other: LimitStore, operations: Iterator[Operation], *, together: int = 1
) -> list[Difference]:
    """All of them. `together`: how many operations `other` is given at once; it must keep their order."""
    found = []
    for first, some in _groups(operations, together):
        expected = [await operation.on(reference) for operation in some]
        answers = await asyncio.gather(*[operation.on(other) for operation in some])
        for number, (operation, *both) in enumerate(zip(some, expected, answers, strict=True), first):
            if both[0] != both[1]:
                found.append(Difference(number, operation, *both))
    return found


async def answers(store: LimitStore, operations: Iterator[Operation]) -> list[tuple[Operation, Any]]:
    """What a store says to each."""
    return [(operation, await operation.on(store)) for operation in operations]


def _groups(operations: Iterator[Operation], size: int) -> Iterator[tuple[int, list[Operation]]]:
    first = 0
    while some := list(islice(operations, size)):
        yield first, some
        first += len(some)


class _Operations:
    """An endless iterator."""

    def __init__(self, seed: int, start: int, steady: bool, set_anew: bool) -> None:
        self._random = random.Random(seed)
        self._now = start
        self._steady, self._set_anew = steady, set_anew
        self._made = 0
        self._open: list[Reservation] = []

    def __iter__(self) -> "_Operations":
        return self

    def __next__(self) -> Operation:
        furthest = self._random.choices([far for far, _ in _STEPS], [often for _, often in _STEPS])[0]
        self._now += self._random.randint(0, furthest)
        if self._set_anew and self._random.random() < 0.01:
            self._now += self._random.choice(_SET_ANEW)
        makers = (self._reserve, self._settle, self._adjust, self._renew, self._levels, self._seed)
        return self._random.choices(makers, (50, 30, 5, 5, 10, 5))[0]()

    def _reserve(self) -> Operation:
        self._made += 1
        limits = self._limits(self._random.randint(1, 6))
        reservation = Reservation(f"request-{self._made}", tuple(Charge(limit, self._cost(limit)) for limit in limits))
        self._open = [*self._open[-30:], reservation]
        lease = self._random.choice((5 * SECOND, 20 * SECOND, MINUTE))
        return Operation("reserve", (reservation,), {"lease": lease, "now": self._now})

    def _settle(self) -> Operation:
        """Of one that was admitted or refused, settled or not, has run out or not."""
        reservation = self._one_open()
        if reservation in self._open and self._random.random() < 0.8:
            self._open.remove(reservation)
        costs = [self._taken(charge) for charge in reservation.charges]
        options = {"debt": self._random.choice(_DEBTS), "now": self._now}
        return Operation("settle", (reservation, costs), options)

    def _adjust(self) -> Operation:
        """Of one that goes on: what it holds from then on is what it was adjusted to."""
        reservation = self._one_open()
        costs = [self._taken(charge) for charge in reservation.charges]
        if reservation in self._open:
            self._open[self._open.index(reservation)] = reservation.costing(costs)
        options = {"debt": self._random.choice(_DEBTS), "now": self._now}
        return Operation("adjust", (reservation, costs), options)

    def _renew(self) -> Operation:
        some = [self._one_open() for _ in range(self._random.randint(0, 5))]
        lease = self._random.choice((5 * SECOND, MINUTE))
        return Operation("renew", (list(dict.fromkeys(some)),), {"lease": lease, "now": self._now})

    def _levels(self) -> Operation:
        return Operation("levels", (self._limits(self._random.randint(0, 6)),), {"now": self._now})

    def _seed(self) -> Operation:
        limit = self._window(self._random.randrange(len(_WINDOWS)))
        return Operation("seed", (limit, self._random.randint(0, limit.amount)), {})

    def _one_open(self) -> Reservation:
        """Mostly a late one, so that many are settled before they run out."""
        if not self._open:
            return Reservation("never-reserved", ())
        return self._open[-1 - min(int(self._random.expovariate(0.4)), len(self._open) - 1)]

    def _limits(self, number: int) -> list[Limit]:
        kinds = [(self._meter, i) for i in range(len(_METERS))]
        kinds += [(self._window, i) for i in range(len(_WINDOWS))]
        kinds += [(self._lease, i) for i in range(len(_LEASES))]
        return [make(index) for make, index in self._random.sample(kinds, number)]

    def _meter(self, index: int) -> Limit:
        key, amounts, period = _METERS[index]
        amount = self._amount(amounts)
        burst = self._random.choice((amount, amount, -(-amount // 4)))
        return Limit("meter", key, amount, period, burst)

    def _window(self, index: int) -> Limit:
        """The one of this moment, or the one before, as a request sees it whose clock is slow."""
        key, amounts, length = _WINDOWS[index]
        late = not self._steady and self._now % length < 30 * SECOND and self._random.random() < 0.2
        end = (self._now // length + (0 if late else 1)) * length
        return Limit("window", f"{key}/{length}/{end}", self._amount(amounts), end)

    def _lease(self, index: int) -> Limit:
        key, amounts = _LEASES[index]
        return Limit("lease", key, self._amount(amounts))

    def _amount(self, amounts: Sequence[int]) -> int:
        """Mostly the first; sometimes somebody has just changed the limit."""
        return amounts[0] if self._steady or self._random.random() < 0.8 else self._random.choice(amounts)

    def _cost(self, limit: Limit) -> int:
        if limit.kind == "lease":
            return 1
        share = self._random.choice((0, 0.001, 0.001, 0.01, 0.01, 0.05, 0.05, 0.1, 0.5, 1.1))
        return self._random.randint(0, max(1, int(limit.amount * share)))

    def _taken(self, charge: Charge) -> int:
        """As reserved, nothing, less, more, or much more than there is."""
        cost, amount = charge.cost, charge.limit.amount
        if charge.limit.kind == "lease":
            return cost
        choices = (cost, cost, 0, self._random.randint(0, cost), self._random.randint(cost, 2 * cost + 1), 5 * amount)
        return self._random.choices(choices, (4, 4, 2, 8, 4, 1))[0]
