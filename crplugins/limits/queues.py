"""LimitQueues: requests that wait for a limit instead of being refused.

A queue belongs to the limit that refuses, and lives for as long as requests wait for that limit. So a request that
waits for a limit of its own key stands in nobody else's way. Of each queue only the first is tried again: when a
settlement has given something back, when what it needs has drained, and when it has become the first.

A request that waits holds nothing in the store, and has one deadline, in however many queues it waits one after the
other: first for narrow limits, such as its key's, then for those that many share.

Processes that share a store have a queue each, and tell one another nothing. What becomes free is taken by whoever asks
first, so each waits for a random time before it does: the more weight waits in a process the shorter, so that by chance
each comes as often as it should (the least of exponential times is that of each in proportion to its rate).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import count
from random import expovariate
from typing import Final, Literal, NamedTuple, Protocol

from crplugins.core.errors import GatewayError, client_disconnected, shutting_down
from crplugins.core.principal import Queue
from crplugins.limits.arithmetic import LEASE_WAIT
from crplugins.limits.fair_queue import FairQueue, Weighed
from crplugins.limits.limit import NEVER, Charge, Decision, Level, Limit

QueueRefusal = Literal["full", "too_long", "deadline"]
"""Why a request is refused that might have waited: as many wait as may, its turn would come after its deadline, or the
deadline has come."""

WaitEnd = QueueRefusal | Literal["admitted", "left", "failed"]
"""How a wait ends. `left`: the client has disconnected. `failed`: the store is unavailable, the process
ends, or something is broken."""

WAIT_ENDS: Final[Sequence[WaitEnd]] = ("admitted", "left", "failed", "full", "too_long", "deadline")


class Ask(NamedTuple):
    """What a request asks of one limit.

    Attributes:
        queue: how long it waits for it; None if it does not.
        scope: of the limit, for metrics.
    """

    charge: Charge
    queue: Queue | None
    scope: str


class Applicant(Weighed, Protocol):
    """A request that asks for its limits, of all of them or of none. The requests of a key keep their order.

    Attributes:
        asks: from narrow limits to those that many share. Only `attempt` changes it.
        size: in tokens.
    """

    @property
    def asks(self) -> Sequence[Ask]: ...

    async def attempt(self) -> Decision:
        """Reserve. The index in the decision is one of `asks`. Raises `GatewayError`."""

    def withdraw(self) -> None:
        """Give back what the last attempt has reserved."""

    async def levels(self) -> tuple[Level, ...]:
        """Of the limits in `asks`. Raises `GatewayError`."""

    def has_waited(self, wait: "Wait") -> None:
        """It waits no longer, or might have and was refused at once."""


class Wait(NamedTuple):
    """How a request has waited.

    Attributes:
        position: when it came, in the first queue; 1 is next.
        scope: of the limit that it waited for first.
    """

    seconds: float
    position: int
    scope: str
    end: WaitEnd


LEASE_SECONDS: Final = 0.02
"""How long a process waits on the average before it asks again for a place that another process may have freed."""

_LEAST_SECONDS: Final = 0.005
_CROWD: Final = 20
"""Queues of a process from which on each asks less often, so that together they ask no more than so many do."""

_SHARE: Final = 0.25
"""Of the time in which what a request needs drains: how long a process waits on the average before it takes that. Much
longer than processes are late by chance, and nothing is lost by it: the limit goes on draining meanwhile."""


class LimitQueues:
    """The queues of this process.

    Args:
        shared: whether other processes may use the same store.

    Attributes:
        waiting: those in which somebody waits, by the key of the limit.
        lengths: how many wait, by the scope of the limit.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.shared: Final = shared
        self.waiting: Final[dict[str, LimitQueue]] = {}
        self.lengths: Final[Counter[str]] = Counter()
        self._draining = False
        self._numbers: Final = count()

    def drain(self) -> None:
        """The process ends: what waits is refused at once, and so is what would wait from now on."""
        self._draining = True
        for queue in list(self.waiting.values()):
            for waiting in list(queue.requests):
                waiting.fail(shutting_down())

    def freed(self, charges: Sequence[Charge]) -> None:
        """A settlement has changed these limits."""
        for limit, _ in charges:
            if (queue := self.waiting.get(limit.key)) is not None:
                queue.freed()

    async def admit(
        self,
        applicant: Applicant,
        decision: Decision | None = None,
        disconnected: Callable[[], Awaitable[None]] | None = None,
    ) -> Decision:
        """Reserve for a request, at once or when it has waited for its turn.

        Args:
            decision: of the attempt that it has made already.
            disconnected: returns when the client has gone.

        Raises `GatewayError`: 499 if the client disconnects meanwhile, 503 if the process ends, and what the applicant
        raises.
        """
        ask, wait = None, None
        if decision is None:
            ask = self.in_the_way(applicant)
        if ask is None:
            decision = decision or await applicant.attempt()
            if decision.refused is None:
                return decision
            ask, wait = applicant.asks[decision.refused], decision.wait
            if not _may_wait(ask, wait):
                return decision
        assert ask.queue is not None, "else there is nobody in the way, and it is not asked to wait"
        if self._draining:
            raise shutting_down()
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = WaitingRequest(applicant, next(self._numbers), began + ask.queue.seconds, loop.create_future())
        position = self.enter(waiting, ask, wait)
        end: WaitEnd = "left"
        try:
            result = await self._result(waiting, disconnected)
            end = "admitted" if isinstance(result, Decision) else result.reason
        except Exception as error:
            if not isinstance(error, GatewayError) or error.error_type != "client_disconnected":
                end = "failed"
            raise
        finally:
            applicant.has_waited(Wait(loop.time() - began, position, ask.scope, end))
        if isinstance(result, Decision):
            return result
        refused = next(i for i, each in enumerate(applicant.asks) if each.charge.limit.key == result.limit.key)
        return Decision(refused, result.wait, await applicant.levels())

    def wait_behind(self, applicant: Applicant) -> int | None:
        """The milliseconds for which a request would wait behind others; None if nobody is in its way."""
        ask = self.in_the_way(applicant)
        if ask is None:
            return None
        return self.waiting[ask.charge.limit.key].wait_of_one_more(ask.charge.cost)

    def in_the_way(self, applicant: Applicant, first: "WaitingRequest | None" = None) -> Ask | None:
        """The limit of a request for which others wait that come before it.

        Before a new one comes everybody who waits for any of its limits. One whose turn has come has only passed the
        narrower ones: before it come those who wait for the others, and earlier requests of its own key.
        """
        passed = first is None
        for ask in applicant.asks:
            queue = self.waiting.get(ask.charge.limit.key)
            if queue is None or ask.queue is None:
                continue
            if first is not None and queue is first.queue:
                passed = True
            elif passed or (first is not None and queue.requests.has_earlier(first)):
                return ask
        return None

    def enter(self, waiting: "WaitingRequest", ask: Ask, wait: int | None) -> int:
        """Let a request wait, or refuse it. Returns its position.

        Args:
            wait: milliseconds, if the limit has refused it; None if it was not asked because others come before.
        """
        assert ask.queue is not None
        limit, now = ask.charge.limit, asyncio.get_running_loop().time()
        queue = self.waiting.get(limit.key)
        if queue is None:
            queue = self.waiting[limit.key] = LimitQueue(self, limit, ask.scope)
        waiting.queue, waiting.cost = queue, ask.charge.cost
        queue.add(waiting)
        position = 1 + sum(1 for _ in queue.requests.before(waiting))
        if position == 1 and wait is not None:
            queue.due = now if self.shared and limit.kind == "lease" else now + wait / 1000
        if queue.comes_at(waiting) >= waiting.deadline:
            waiting.refuse("too_long")
        elif queue.requests.length > ask.queue.length:
            queue.requests.surplus(waiting).refuse("full")
        if position == 1 and waiting.queue is queue:
            if wait is None:
                queue.serve_soon()
            else:
                queue.serve_when_due()
        return position

    async def _result(
        self, waiting: "WaitingRequest", disconnected: Callable[[], Awaitable[None]] | None
    ) -> "Decision | NotAdmitted":
        if waiting.result.done():
            return waiting.result.result()
        loop = asyncio.get_running_loop()
        deadline = loop.call_at(waiting.deadline, waiting.refuse, "deadline")
        watch = None if disconnected is None else loop.create_task(_watch(waiting, disconnected))
        try:
            return await waiting.result
        except asyncio.CancelledError:
            if waiting.admitted:  # in the same turn of the event loop
                waiting.applicant.withdraw()
            raise
        finally:
            deadline.cancel()
            if watch is not None:
                watch.cancel()
            waiting.leave()


def _may_wait(ask: Ask, wait: int) -> bool:
    """Nothing of a window is free before its end, and its end may move: nobody waits for it."""
    return ask.queue is not None and wait != NEVER and ask.charge.limit.kind != "window"


async def _watch(waiting: "WaitingRequest", disconnected: Callable[[], Awaitable[None]]) -> None:
    await disconnected()
    if not waiting.result.done():
        waiting.result.set_exception(client_disconnected())
        waiting.leave()


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

    def __init__(self, queues: LimitQueues, limit: Limit, scope: str) -> None:
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
        elif _may_wait(ask, decision.wait):
            first.leave()
            self._queues.enter(first, ask, decision.wait)
        else:
            first.result.set_result(NotAdmitted(limit, "too_long", decision.wait))
            first.leave()
        return True
