"""Whatever comes, leaves, settles and passes in whatever order: nothing above the limits, nobody forgotten.

Requests of three keys ask for their own limit, a shared one and a place among those that run, as a machine of rules has
it. What must hold at every moment is worked out beside the queues, by an exact model of the limits.
"""

import asyncio
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crplugins.core.principal import Queue
from crplugins.limits.limit import Charge, Limit
from crplugins.limits.memory import MemoryStore
from tests.limits.queue_setup import Desk, lease, meter
from tests.limits.virtual_time import VirtualLoop
from tests.long import times

WEIGHTS = {"a": 1, "b": 3, "c": 1}
SECONDS = 10
LENGTH = 6
SLACK = Fraction(1, 1000)


class Running:
    """A request that has been admitted, and what was charged for it."""

    def __init__(self, request, cost):
        self.request, self.cost = request, cost


class Queues(RuleBasedStateMachine):
    @initialize(shared=st.integers(20, 200), own=st.integers(20, 200), at_once=st.integers(1, 3))
    def begin(self, shared, own, at_once):
        self.loop = VirtualLoop()
        self.runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self.desk = self.runner.run(self.make_desk())
        self.shared, self.own, self.at_once = meter(shared), own, lease(at_once)
        self.asked, self.running = {}, []
        self.taken = {self.shared.key: Fraction(0)}
        self.order = []
        self.number = 0

    async def make_desk(self):
        desk = Desk(MemoryStore(clock=self.loop.milliseconds))
        await desk.reservations.__aenter__()  # from now on leases are renewed
        return desk

    def teardown(self):
        if hasattr(self, "runner"):
            self.runner.close()

    def limits(self, key) -> tuple[Limit, ...]:
        return meter(self.own, f"key/{key}"), self.shared, self.at_once

    async def idle(self):
        for _ in range(30):
            await asyncio.sleep(0)

    def turn(self, coroutine=None):
        """Something happens, and all that follows from it at once."""
        if coroutine is not None:
            self.runner.run(coroutine)
        self.runner.run(self.idle())

    async def start(self, number, key, cost):
        limits = self.limits(key)
        charges = (*(Charge(limit, min(cost, limit.amount)) for limit in limits[:2]), Charge(limits[2], 1))
        task = asyncio.create_task(self.admit(number, key, charges))
        self.asked[number] = (task, key, self.loop.time())

    async def admit(self, number, key, charges):
        request = self.desk.request(*charges, key=key, weight=WEIGHTS[key], queue=Queue(SECONDS, LENGTH))
        decision = await self.desk.queues.admit(request)
        if decision.refused is None:
            self.running.append(Running(request, charges))
            self.order.append((key, number))
            for charge in charges:
                self.taken[charge.limit.key] = self.taken.get(charge.limit.key, Fraction(0)) + charge.cost

    @rule(key=st.sampled_from("abc"), cost=st.integers(1, 40))
    def a_request_comes(self, key, cost):
        self.number += 1
        self.turn(self.start(self.number, key, cost))

    @precondition(lambda self: getattr(self, "running", None))
    @rule(which=st.integers(0, 100), percent=st.sampled_from([0, 50, 100]))
    def one_that_runs_is_over(self, which, percent):
        ended = self.running.pop(which % len(self.running))
        costs = [charge.cost * percent // 100 for charge in ended.cost[:2]]

        async def settle():
            self.desk.settle(ended.request, *costs, 1)

        for charge, cost in zip(ended.cost[:2], costs, strict=True):
            self.taken[charge.limit.key] += cost - charge.cost
        self.turn(settle())

    @precondition(lambda self: any(not task.done() for task, _, _ in getattr(self, "asked", {}).values()))
    @rule(which=st.integers(0, 100))
    def one_that_waits_leaves(self, which):
        waiting = [number for number, (task, _, _) in self.asked.items() if not task.done()]
        task = self.asked.pop(waiting[which % len(waiting)])[0]

        async def cancel():
            task.cancel()

        self.turn(cancel())

    @rule(milliseconds=st.sampled_from([1, 100, 1_000, 2_500, 11_000]))
    def time_goes_on(self, milliseconds):
        async def sleep():
            await asyncio.sleep(milliseconds / 1000)

        self.turn(sleep())

    @invariant()
    def nothing_is_above_a_limit(self):
        if not hasattr(self, "desk"):
            return
        assert len(self.running) <= self.at_once.amount
        seconds = Fraction(self.loop.milliseconds() - 1_767_225_600_000, 1000)
        for key in ("overall/tokens", "key/a", "key/b", "key/c"):
            amount = self.shared.amount if key == self.shared.key else self.own
            assert self.taken.get(key, 0) <= amount + seconds * amount / 60 + SLACK

    @invariant()
    def nobody_waits_past_its_deadline_and_no_more_than_may(self):
        if not hasattr(self, "desk"):
            return
        waiting = [began for task, _, began in self.asked.values() if not task.done()]
        assert all(self.loop.time() - began <= SECONDS for began in waiting)
        assert sum(self.desk.queues.lengths.values()) == len(waiting)
        assert all(queue.requests.length <= LENGTH for queue in self.desk.queues.waiting.values())

    @invariant()
    def the_first_of_each_queue_waits_for_a_reason(self):
        """No wake-up is lost: whoever is next would be refused now, by the limit or because others come before."""
        if not hasattr(self, "desk"):
            return
        for queue in self.desk.queues.waiting.values():
            first = queue.requests.first()
            assert first is not None
            assert not first.result.done()
            moment = self.loop.milliseconds()
            checks = [self.would_wait(ask.charge, moment) for ask in first.applicant.asks]
            assert any(checks), "the first could be admitted, and nobody has told it"

    def would_wait(self, charge, moment):
        table = self.desk.reservations.store._table
        by_kind = {"meter": table.meters, "lease": table.leases}
        return by_kind[charge.limit.kind].check(charge.limit, charge.cost, moment)[1] > 0

    @invariant()
    def the_requests_of_a_key_are_admitted_in_their_order(self):
        """All of a key ask for the same limits."""
        for key in "abc":
            numbers = [number for each, number in getattr(self, "order", []) if each == key]
            assert numbers == sorted(numbers)


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=times(40, 3_000), stateful_step_count=40, deadline=None)
