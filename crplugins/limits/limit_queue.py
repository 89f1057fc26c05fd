"""LimitQueue: the requests of this process that wait for one limit.

Only the first is tried again: when a settlement has given something back, when what it needs has drained, and when it
has become the first.

Processes that share a store have a queue each, and tell one another nothing. What becomes free is taken by whoever asks
first, so each waits for a random time before it does: the more weight waits in a process the shorter, so that by chance
each comes as often as it should (the least of exponential times is that of each in proportion to its rate).
"""

import asyncio
from contextvars import Context
from random import expovariate
from typing import TYPE_CHECKING, Final, NamedTuple

from crplugins.core.errors import GatewayError
from crplugins.limits.applicant import Applicant, Ask, QueueRefusal
from crplugins.limits.arithmetic import LEASE_WAIT
from crplugins.limits.fair_queue import FairQueue
from crplugins.limits.limit import NEVER, Decision, Limit

if TYPE_CHECKING:
    from crplugins.limits.queues import LimitQueues

LEASE_SECONDS: Final = 0.02
"""How long a process waits on the average before it asks again for a place that another process may have freed."""

_LEAST_SECONDS: Final = 0.005
_CROWD: Final = 20
"""Queues of a process from which on each asks less often, so that together they ask no more than so many do."""

_SHARE: Final = 0.25
"""Of the time in which what a request needs drains: how long a process waits on the average before it takes that. Much
longer than processes are late by chance, and nothing is lost by it: the limit goes on draining meanwhile."""


class NotAdmitted(NamedTuple):
    """Of a request that has waited, or might have: by which limit, why, and after how many milliseconds to retry."""

    limit: Limit
    reason: QueueRefusal
    wait: int


class WaitingRequest:
    """One request in a queue.

    Attributes:
        deadline: in the time of the event loop.
        result: the decision that has admitted it, or a refusal.
        queue: where it is now; None when it is over.
        cost: what it asks of the limit there.
    """

    __slots__ = ("applicant", "cost", "deadline", "key", "number", "queue", "result", "size", "weight")

    def __init__(
        self, applicant: Applicant, number: int, deadline: float, result: "asyncio.Future[Decision | NotAdmitted]"
    ) -> None:
        self.applicant = applicant
        self.number = number
        self.key, self.weight, self.size = applicant.key, applicant.weight, applicant.size
        self.deadline = deadline
        self.result = result
        self.queue: LimitQueue | None = None
        self.cost = 0

    @property
    def admitted(self) -> bool:
        result = self.result
        return result.done() and not result.cancelled() and not result.exception() and type(result.result()) is Decision

    def refuse(self, reason: QueueRefusal) -> None:
        if not self.result.done():
            assert self.queue is not None, "it is over otherwise"
            seconds = self.queue.comes_at(self) - asyncio.get_running_loop().time()
            wait = LEASE_WAIT if self.queue.limit.kind == "lease" else max(1, round(seconds * 1000))
            self.result.set_result(NotAdmitted(self.queue.limit, reason, wait))
        self.leave()

    def fail(self, error: GatewayError) -> None:
        if not self.result.done():
            self.result.set_exception(error)
        self.leave()

    def leave(self) -> None:
        """Make room for the next one. Does nothing for one that is not in a queue any more."""
        queue, self.queue = self.queue, None
        if queue is not None:
            queue.left(self)


class LimitQueue:
    """The requests that wait for one limit.

    Attributes:
        due: when the first of them could be admitted, in the time of the event loop, unless something is given back.
    """

    def __init__(self, queues: "LimitQueues", limit: Limit, scope: str) -> None:
        self.requests: Final[FairQueue[WaitingRequest]] = FairQueue()
        self.limit: Final = limit
        self.scope: Final = scope
        self.due = 0.0
        self._queues: Final = queues
        self._timer: asyncio.TimerHandle | None = None
        self._serving: asyncio.Task[None] | None = None
        self._again = False

    def add(self, waiting: WaitingRequest) -> None:
        self._queues.lengths[self.scope] += 1
        self.requests.add(waiting)

    def comes_at(self, waiting: WaitingRequest) -> float:
        """When a request could be admitted, if nothing is given back. Of leases nobody knows: now."""
        now, limit = asyncio.get_running_loop().time(), self.limit
        if limit.kind == "lease":
            return now
        first = self.requests.first()
        ahead = sum(each.cost for each in self.requests.before(waiting) if each is not first)
        own = waiting.cost if waiting is not first else 0
        return max(now, self.due) + (ahead + own) * limit.period / limit.amount / 1000

    def wait_of_one_more(self, cost: int) -> int:
        """In milliseconds, behind all."""
        limit = self.limit
        if limit.kind == "lease":
            return LEASE_WAIT
        ahead = sum(each.cost for each in self.requests)
        seconds = max(0.0, self.due - asyncio.get_running_loop().time())
        return max(1, round(seconds * 1000 + (ahead + cost) * limit.period / limit.amount))

    def freed(self) -> None:
        """Something was given back."""
        if self._queues.shared:
            self.due = min(self.due, asyncio.get_running_loop().time())
            self._again = True
            if self._serving is None:
                self.serve_when_due()
        else:
            self.serve_soon()

    def serve_soon(self) -> None:
        """Try the first once more: something may have changed."""
        self._again = True
        if self._serving is None:
            self._serving = asyncio.get_running_loop().create_task(self._serve(), context=Context())

    def serve_when_due(self) -> None:
        """Try the first again when what it needs has drained."""
        if self._timer is not None:
            self._timer.cancel()
        later = self._turn() if self._queues.shared else 0.0
        self._timer = asyncio.get_running_loop().call_at(self.due + later, self.serve_soon)

    def _turn(self) -> float:
        """Seconds by which this process lets others go first."""
        first, limit = self.requests.first(), self.limit
        weight = self.requests.weight()
        if first is None or limit.kind == "lease":
            crowd = max(1.0, len(self._queues.waiting) / _CROWD)
            return expovariate(1 / (crowd * max(_LEAST_SECONDS, LEASE_SECONDS / weight)))
        drains = max(1, first.cost) * limit.period / limit.amount / 1000
        return expovariate(weight / (_SHARE * drains))

    def left(self, waiting: WaitingRequest) -> None:
        """One that has not been admitted. The next one may ask for less."""
        was_first = self.requests.first() is waiting
        self._queues.lengths[self.scope] -= 1
        self.requests.remove(waiting)
        if not self.requests.length:
            self._close()
        elif was_first:
            self.serve_soon()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._queues.waiting.get(self.limit.key) is self:
            del self._queues.waiting[self.limit.key]

    async def _serve(self) -> None:
        while (first := self.requests.first()) is not None:
            self._again = False
            if not await self._try(first) and not self._again:
                break
        self._serving = None
        if self.requests.length:
            self.serve_when_due()
        else:
            self._close()

    async def _try(self, first: WaitingRequest) -> bool:
        """False if it has to wait on; True if the next one is the first now."""
        if first.result.done():  # cancelled; it will find out soon
            first.leave()
            return True
        ask = self._queues.in_the_way(first.applicant, first)
        if ask is not None:
            first.leave()
            self._queues.enter(first, ask, None)
            return True
        try:
            decision = await first.applicant.attempt()
        except Exception as error:
            if not first.result.done():
                first.result.set_exception(error)
            first.leave()
            return True
        if first.result.done():
            if decision.refused is None:
                first.applicant.withdraw()
            first.leave()
            return True
        if decision.refused is None:
            first.queue = None
            first.result.set_result(decision)
            self._queues.lengths[self.scope] -= 1
            self.requests.serve(first)
            return True
        return self._refused(first, decision, first.applicant.asks[decision.refused])

    def _refused(self, first: WaitingRequest, decision: Decision, ask: Ask) -> bool:
        """By this limit, or by another one meanwhile."""
        limit, now = ask.charge.limit, asyncio.get_running_loop().time()
        if limit.key == self.limit.key and decision.wait != NEVER:
            by_others = limit.kind == "lease" and self._queues.shared
            self.due = now if by_others else now + decision.wait / 1000
            if limit.kind == "lease" or self.due < first.deadline:
                return False
            first.refuse("too_long")
        elif ask.may_wait(decision.wait):
            first.leave()
            self._queues.enter(first, ask, decision.wait)
        else:
            first.result.set_result(NotAdmitted(limit, "too_long", decision.wait))
            first.leave()
        return True
