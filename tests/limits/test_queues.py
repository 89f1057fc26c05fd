"""LimitQueues: who waits for a limit, in which order, for how long, and what wakes them. Time is virtual."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from crplugins.core.errors import GatewayError
from crplugins.core.principal import Queue
from crplugins.limits.limit import NEVER, Charge, Limit
from tests.limits.queue_setup import Desk, lease, meter
from tests.limits.virtual_time import VirtualLoop, run


def now() -> float:
    return asyncio.get_running_loop().time()


async def settle() -> None:
    """Let everything run that needs no time."""
    for _ in range(10):
        await asyncio.sleep(0)


def waiting(desk: Desk) -> int:
    return sum(desk.queues.lengths.values())


def test_a_request_waits_for_what_has_to_drain_and_not_longer() -> None:
    async def main() -> None:
        desk, limit = Desk(), meter(60, burst=1)
        await desk.ask(Charge(limit, 1))
        request, decision = await desk.ask(Charge(limit, 1))
        assert decision.refused is None
        assert request.wait is not None
        assert (request.wait.position, request.wait.scope, request.wait.end) == (1, "overall", "admitted")
        assert request.wait.seconds == pytest.approx(1.0, abs=0.002)
        assert desk.attempts == 3, "it is tried when it is due, and not before"
        assert not desk.queues.waiting

    run(main())


def test_a_settlement_wakes_who_waits_at_once_and_nobody_else() -> None:
    async def main() -> None:
        desk, limit = Desk(), lease(2)
        first, _ = await desk.ask(Charge(limit, 1))
        await desk.ask(Charge(limit, 1))
        tasks = [asyncio.create_task(desk.ask(Charge(limit, 1), name=str(n))) for n in range(50)]
        await settle()
        assert (waiting(desk), desk.attempts) == (50, 3), "only the first has asked the store"
        desk.settle(first, 1)
        await settle()
        assert (desk.admitted, now()) == (["a", "a", "0"], 0.0)
        assert desk.attempts == 5, "the one that was admitted, and the next that was not"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not desk.queues.waiting

    run(main())


def test_a_refund_wakes_who_waits_for_tokens() -> None:
    async def main() -> None:
        desk, limit = Desk(), meter(1000)
        first, _ = await desk.ask(Charge(limit, 1000))
        task = asyncio.create_task(desk.ask(Charge(limit, 100)))
        await asyncio.sleep(1)
        desk.settle(first, 10)
        _, decision = await task
        assert decision.refused is None
        assert now() == 1.0

    run(main())


REFUSED: list[Any] = [
    pytest.param(Queue(10, 100), 30, "too_long", 30_000, id="it would wait longer than it may"),
    pytest.param(Queue(10, 0), 1, "full", 1_000, id="nobody may wait"),
]


@pytest.mark.parametrize(("queue", "cost", "reason", "wait"), REFUSED)
def test_who_cannot_be_served_in_time_is_refused_at_once_and_told_when(
    queue: Queue, cost: int, reason: str, wait: int
) -> None:
    async def main() -> None:
        desk, limit = Desk(), meter(60)
        await desk.ask(Charge(limit, 60))
        request, decision = await desk.ask(Charge(limit, cost), queue=queue)
        assert (decision.refused, decision.wait, now()) == (0, wait, 0)
        assert not desk.queues.waiting
        assert request.wait is not None
        assert request.wait.end == reason

    run(main())


def test_a_request_larger_than_the_limit_does_not_wait() -> None:
    async def main() -> None:
        desk, limit = Desk(), meter(60)
        request, decision = await desk.ask(Charge(limit, 61))
        assert (decision.wait, request.wait) == (NEVER, None)

    run(main())


def test_nobody_waits_for_a_window_or_for_a_limit_without_a_queue() -> None:
    async def main() -> None:
        desk, window = Desk(), Limit("window", "session/total", 1, 1_767_225_600_000 + 5_000)
        for limit, queue in ((window, Queue(10, 10)), (meter(60, burst=1), None)):
            await desk.ask(Charge(limit, 1), queue=queue)
            request, decision = await desk.ask(Charge(limit, 1), queue=queue)
            assert (decision.refused, request.wait, now()) == (0, None, 0.0)

    run(main())


def test_the_deadline_ends_a_wait_that_nobody_could_foresee() -> None:
    async def main() -> None:
        desk, limit = Desk(), lease(1)
        await desk.ask(Charge(limit, 1))
        request, decision = await desk.ask(Charge(limit, 1), queue=Queue(3, 10))
        assert request.wait is not None
        assert (request.wait.end, decision.refused, decision.wait) == ("deadline", 0, 1000)
        assert decision.levels[0].used == 1
        assert now() == 3.0

    run(main())


def test_the_wait_behind_others_is_foreseen_too() -> None:
    """One a second: the tenth would come when its time is up, though the limit alone says after one second."""

    async def main() -> None:
        desk, limit = Desk(), meter(60, burst=1)
        answers = await asyncio.gather(*[desk.ask(Charge(limit, 1)) for _ in range(20)])
        refused = [(request.wait, decision.wait) for request, decision in answers if decision.refused is not None]
        assert len(refused) == 10
        assert all(wait is not None and (wait.seconds, wait.end) == (0, "too_long") for wait, _ in refused)
        assert {milliseconds for _, milliseconds in refused} == {10_000}
        assert now() == pytest.approx(9.0, abs=0.02)

    run(main())


def test_so_many_wait_and_one_more_is_refused() -> None:
    async def main() -> None:
        desk, limit = Desk(), lease(1)
        holder, _ = await desk.ask(Charge(limit, 1))
        tasks = [asyncio.create_task(desk.ask(Charge(limit, 1), queue=Queue(10, 3))) for _ in range(5)]
        await settle()
        refused = [task.result()[0].wait for task in tasks if task.done()]
        assert [wait and wait.end for wait in refused] == ["full", "full"]
        assert [task.done() for task in tasks] == [False, False, False, True, True]
        for task in tasks[:3]:
            desk.settle(holder, 1)
            holder, decision = await task
            assert decision.refused is None

    run(main())


def test_a_key_that_fills_the_queue_keeps_no_other_out() -> None:
    async def main() -> None:
        desk, limit = Desk(), lease(1)
        await desk.ask(Charge(limit, 1))
        greedy = [asyncio.create_task(desk.ask(Charge(limit, 1), queue=Queue(10, 5))) for _ in range(5)]
        await settle()
        other = asyncio.create_task(desk.ask(Charge(limit, 1), key="b", queue=Queue(10, 5)))
        await settle()
        assert [task.done() for task in (*greedy, other)] == [False, False, False, False, True, False]
        assert desk.queues.lengths == {"overall": 5}
        for task in (*greedy, other):
            task.cancel()

    run(main())


def test_a_request_that_waits_for_its_own_keys_limit_stands_in_nobodys_way() -> None:
    async def main() -> None:
        desk, shared = Desk(), meter(60_000)
        own = meter(60, "key/a", burst=1)
        await desk.ask(Charge(own, 1), Charge(shared, 1))
        slow = asyncio.create_task(desk.ask(Charge(own, 1), Charge(shared, 1)))
        await settle()
        other, _ = await desk.ask(Charge(meter(60, "key/b"), 1), Charge(shared, 1), key="b")
        assert (other.wait, now()) == (None, 0.0)
        await slow
        assert now() == pytest.approx(1.0, abs=0.002)

    run(main())


def test_nobody_overtakes_who_waits_for_a_limit_though_it_asks_for_less() -> None:
    async def main() -> None:
        desk, limit = Desk(), meter(600)
        await desk.ask(Charge(limit, 550), name="first")
        large = asyncio.create_task(desk.ask(Charge(limit, 100), name="large"))
        await settle()
        await desk.ask(Charge(limit, 10), name="small", key="b")
        await large
        assert desk.admitted == ["first", "large", "small"]

    run(main())


def test_a_request_that_waited_for_its_own_limit_then_waits_for_the_shared_one_in_its_order() -> None:
    async def main() -> None:
        desk, own, shared = Desk(), meter(60, "key/a", burst=1), lease(1, "overall/parallel")
        holder, _ = await desk.ask(Charge(own, 1), Charge(shared, 1), name="holder")
        tasks = [asyncio.create_task(desk.ask(Charge(own, 1), Charge(shared, 1), name=f"a{n}")) for n in range(3)]
        await asyncio.sleep(5)
        assert waiting(desk) == 3
        for number in range(3):
            desk.settle(holder, 1, 1)
            holder, _ = await tasks[number]
            await asyncio.sleep(1.1)
        assert desk.admitted == ["holder", "a0", "a1", "a2"]

    run(main())


def test_who_leaves_makes_room_at_once_and_the_next_is_tried() -> None:
    async def main() -> None:
        desk, limit = Desk(), meter(600)
        await desk.ask(Charge(limit, 590))
        large = asyncio.create_task(desk.ask(Charge(limit, 80), name="large"))
        await settle()
        small = asyncio.create_task(desk.ask(Charge(limit, 10), name="small"))
        await settle()
        large.cancel()
        await small
        assert (desk.admitted, now()) == (["a", "small"], 0.0)

    run(main())


def test_a_client_that_disconnects_gives_up_its_place() -> None:
    async def main() -> None:
        desk, limit = Desk(), lease(1)
        await desk.ask(Charge(limit, 1))
        gone = asyncio.Event()

        async def disconnected() -> None:
            await gone.wait()

        request = desk.request(Charge(limit, 1))
        task = asyncio.create_task(desk.queues.admit(request, disconnected=disconnected))
        await settle()
        assert waiting(desk) == 1
        gone.set()
        with pytest.raises(GatewayError) as left:
            await task
        assert (left.value.status, left.value.error_type) == (499, "client_disconnected")
        assert request.wait is not None
        assert request.wait.end == "left"
        assert not desk.queues.waiting

    run(main())


def test_a_request_that_is_cancelled_as_it_is_admitted_holds_nothing() -> None:
    async def main() -> None:
        desk, limit = Desk(), lease(1)
        holder, _ = await desk.ask(Charge(limit, 1))
        task = asyncio.create_task(desk.ask(Charge(limit, 1)))
        await settle()
        desk.settle(holder, 1)
        await asyncio.sleep(0)  # it is admitted now, and not resumed yet
        assert desk.attempts == 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [level] = await desk.reservations.levels([limit])
        assert level.used == 0

    run(main())


def test_a_store_that_fails_ends_the_wait_with_its_error() -> None:
    async def main() -> None:
        desk, limit = Desk(), lease(1)
        holder, _ = await desk.ask(Charge(limit, 1))
        request = desk.request(Charge(limit, 1))
        task = asyncio.create_task(desk.queues.admit(request))
        await settle()

        async def fails() -> Any:
            raise GatewayError(503, "unavailable")

        request.attempt = fails  # type: ignore[method-assign]
        desk.settle(holder, 1)
        with pytest.raises(GatewayError, match="unavailable"):
            await task
        assert not desk.queues.waiting

    run(main())


HALF_A_MINUTE = 30.0


def load(keys: dict[str, tuple[float, int]], *, amount: int = 60_000, sizes: tuple[int, ...] = (50, 300, 120)) -> Any:
    """Tokens of each key in half a minute of a limit of so many a minute; `keys` have a weight and so many clients that
    ask without a pause. What passes before anybody waits is not counted."""

    async def main() -> tuple[Counter[str], list[tuple[str, int]]]:
        desk, limit = Desk(), meter(amount, burst=max(sizes))
        order: list[tuple[str, int]] = []

        async def client(key: str, weight: float) -> None:
            number = 0
            while now() < HALF_A_MINUTE:
                number += 1
                size = sizes[number % len(sizes)]
                request, _ = await desk.ask(Charge(limit, size), key=key, weight=weight, queue=Queue(60, 1000))
                if request.wait is not None and now() < HALF_A_MINUTE:
                    order.append((key, size))
                desk.settle(request, size)

        async with asyncio.TaskGroup() as clients:
            for key, (weight, number) in keys.items():
                for _ in range(number):
                    clients.create_task(client(key, weight))
        tokens: Counter[str] = Counter()
        for key, size in order:
            tokens[key] += size
        return tokens, order

    return run(main())


def test_two_keys_of_weight_1_and_3_are_served_1_to_3_within_one_largest_request_at_every_moment() -> None:
    _, order = load({"a": (1, 20), "b": (3, 20)})
    served = {"a": 0, "b": 0}
    for key, size in order[40:]:  # from when both wait
        served[key] += size
        assert abs(served["a"] - served["b"] / 3) <= 300 + 300 / 3
    assert served["b"] > 15_000


def test_a_lone_key_is_served_all_of_the_limit() -> None:
    tokens, _ = load({"a": (1, 10)})
    assert tokens["a"] >= 0.99 * (30_000 - 300)


def test_ten_equal_keys_are_served_alike_however_many_clients_they_have() -> None:
    tokens, _ = load({f"k{n}": (1, 2 + 3 * n) for n in range(10)})
    shares = list(tokens.values())
    assert len(shares) == 10
    assert sum(shares) ** 2 / (10 * sum(share**2 for share in shares)) >= 0.99


def test_one_timer_is_set_for_each_limit_and_one_for_each_deadline() -> None:
    async def main() -> None:
        desk, limit = Desk(), meter(60, burst=1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        before = loop.timers()
        await desk.ask(Charge(limit, 1))
        tasks = [asyncio.create_task(desk.ask(Charge(limit, 1), queue=Queue(60, 100))) for _ in range(50)]
        await settle()
        assert loop.timers() - before == 51
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (loop.timers() - before, len(asyncio.all_tasks())) == (0, 1)

    run(main())


def test_a_process_that_ends_refuses_at_once_what_waits_and_what_would_wait() -> None:
    async def main() -> None:
        desk, limits = Desk(), (lease(1), meter(60, burst=1))
        for limit in limits:
            await desk.ask(Charge(limit, 1))
        tasks = [asyncio.create_task(desk.ask(Charge(limit, 1))) for limit in limits for _ in range(3)]
        await settle()
        assert waiting(desk) == 6
        desk.queues.drain()
        tasks.append(asyncio.create_task(desk.ask(Charge(limits[0], 1))))
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [(type(end), end.error.code) for end in ends] == [(GatewayError, "server_shutdown")] * 7
        assert (waiting(desk), now()) == (0, 0.0)
        assert not desk.queues.waiting

    run(main())
