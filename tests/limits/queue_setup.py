"""Requests that wait for limits, without a plugin around them."""

from typing import Any, Final

from crplugins.core.principal import Queue
from crplugins.limits.applicant import Ask, Wait
from crplugins.limits.limit import Charge, Decision, Level, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.queues import LimitQueues
from crplugins.limits.reservations import Reservations
from tests.limits.virtual_time import clock

MINUTE: Final = 60_000
TEN_SECONDS: Final = Queue(10, 100)


def meter(amount: int, key: str = "overall/tokens", burst: int | None = None) -> Limit:
    return Limit("meter", key, amount, MINUTE, amount if burst is None else burst)


def lease(amount: int, key: str = "overall/parallel") -> Limit:
    return Limit("lease", key, amount)


class Request:
    """An applicant. `queues` are those of its limits, or one for all."""

    def __init__(
        self,
        desk: "Desk",
        number: int,
        charges: tuple[Charge, ...],
        *,
        key: str = "a",
        weight: float = 1,
        size: int | None = None,
        queue: Queue | None = TEN_SECONDS,
    ) -> None:
        self._desk = desk
        self.reservation = Reservation(f"r{desk.name}{number}", charges)
        self.asks = [Ask(charge, queue, charge.limit.key.partition("/")[0]) for charge in charges]
        self.key, self.weight = key, weight
        self.size = max(charge.cost for charge in charges) if size is None else size
        self.wait: Wait | None = None

    async def attempt(self) -> Decision:
        self._desk.attempts += 1
        _, decision = await self._desk.reservations.reserve(self.reservation.id, self.reservation.charges)
        return decision

    def withdraw(self) -> None:
        self._desk.reservations.settle(self.reservation, [0] * len(self.reservation.charges))

    def has_waited(self, wait: Wait) -> None:
        self.wait = wait

    async def levels(self) -> tuple[Level, ...]:
        return await self._desk.reservations.levels_or_refuse([charge.limit for charge in self.reservation.charges])


class Desk:
    """A store on the clock of the running virtual loop, and who asks there.

    Attributes:
        admitted: keys and costs of the requests, in the order in which they were admitted.
        attempts: how often the store was asked.
        name: of the process, where several share the store.
    """

    def __init__(self, store: Any = None, name: str = "") -> None:
        self.name = name
        self.reservations = Reservations(MemoryStore(clock=clock) if store is None else store)
        self.admitted: list[str] = []
        self.attempts = 0
        self._number = 0

    @property
    def queues(self) -> LimitQueues:
        return self.reservations.queues

    def request(self, *charges: Charge, **options: Any) -> Request:
        self._number += 1
        return Request(self, self._number, charges, **options)

    async def ask(self, *charges: Charge, name: str = "", **options: Any) -> tuple[Request, Decision]:
        """A request, until it is admitted or refused. `name` is what `admitted` calls it."""
        request = self.request(*charges, **options)
        decision = await self.queues.admit(request)
        if decision.refused is None:
            self.admitted.append(name or request.key)
        return request, decision

    def settle(self, request: Request, *costs: int) -> None:
        self.reservations.settle(request.reservation, costs)
