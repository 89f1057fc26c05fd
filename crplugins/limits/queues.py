"""LimitQueues: requests that wait for a limit instead of being refused.

A queue belongs to the limit that refuses, and lives for as long as requests wait for that limit. So a request that
waits for a limit of its own key stands in nobody else's way.

A request that waits holds nothing in the store, and has one deadline, in however many queues it waits one after the
other: first for narrow limits, such as its key's, then for those that many share.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final

from crplugins.core.errors import GatewayError, client_disconnected, shutting_down
from crplugins.limits.applicant import Applicant, Ask, Wait, WaitEnd
from crplugins.limits.limit import Charge, Decision
from crplugins.limits.limit_queue import LimitQueue, NotAdmitted, WaitingRequest


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
        for charge in charges:
            if (queue := self.waiting.get(charge.limit.key)) is not None:
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
            if not ask.may_wait(wait):
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

    def enter(self, waiting: WaitingRequest, ask: Ask, wait: int | None) -> int:
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
        self, waiting: WaitingRequest, disconnected: Callable[[], Awaitable[None]] | None
    ) -> Decision | NotAdmitted:
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


async def _watch(waiting: WaitingRequest, disconnected: Callable[[], Awaitable[None]]) -> None:
    await disconnected()
    if not waiting.result.done():
        waiting.result.set_exception(client_disconnected())
        waiting.leave()
