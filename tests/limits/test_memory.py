"""MemoryStore: it never waits, and remembers no more than matters."""

import asyncio

import pytest

from crplugins.limits.limit import Charge, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from tests.limits.conftest import DAY, lease, meter, request, window

NOW = 1_767_225_600_000
MINUTE = 60_000


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


def done(coroutine):
    """The result of what never waits for anything."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return end.value.value


def test_no_operation_waits(store):
    held = request(meter(), window(50, NOW + DAY), lease())
    assert done(store.reserve(held)).refused is None
    assert done(store.renew([held], lease=1_000)) is None
    assert [level.used for level in done(store.levels([charge.limit for charge in held.charges]))] == [1, 1, 1]
    assert done(store.seed(window(50, NOW + DAY), 7)) is None
    assert done(store.settle(held, [0, 0, 1])) is True


def test_what_cannot_be_awaited_is_settled_at_once(store):
    held = request(meter(), lease())
    done(store.reserve(held))
    assert store.settle_now(held, [0, 1])
    assert not store.settle_now(held, [0, 1])
    assert [level.used for level in done(store.levels([meter(), lease()]))] == [0, 0]


async def test_200_concurrent_requests_against_50_get_exactly_50(store):
    decisions = await asyncio.gather(*[store.reserve(request(meter(), lease())) for _ in range(200)])
    assert [decision.refused for decision in decisions].count(None) == 50


def test_all_state_is_removed_when_it_has_no_effect_any_more(store, clock):
    for number in range(100):
        day = clock.now // DAY * DAY + DAY
        limits = meter(key=f"{number}/requests"), window(5, day, key=f"{number}/usd"), lease(key=f"{number}/parallel")
        done(store.reserve(request(*limits)))
    assert len(store) == 400
    for _ in range(3):
        clock.now += 2 * DAY
        for _ in range(200):
            done(store.reserve(request()))
    assert len(store) == 200  # the empty reservations of the last round


def test_state_in_constant_use_is_not_removed(store, clock):
    limit, used = meter(60), []
    for _ in range(1_000):
        clock.now += 900
        used.append(done(store.reserve(request(limit))).levels[0].used)
    assert used[::100] == pytest.approx([min(number / 10, 59) for number in range(0, 1_000, 100)], abs=1)


def test_settled_reservations_leave_nothing(store):
    for _ in range(1_000):
        held = request(meter(10**6), lease())
        done(store.reserve(held))
        done(store.settle(held, [1, 1]))
    assert len(store) == 2


def test_a_time_in_the_future_removes_nothing_in_use(store):
    used = Charge(window(50, NOW + MINUTE), 50)
    done(store.reserve(request(used)))
    for _ in range(10):
        done(store.reserve(request(meter()), now=NOW + DAY))
    assert done(store.reserve(request(window(50, NOW + MINUTE)))).refused == 0


async def test_hundreds_of_thousands_of_random_keys_take_the_memory_of_those_of_a_moment(store, clock):
    """1,000 a second, each new, none settled: reservations live two seconds, and what they have charged is remembered for
    ten times as long as it takes to drain."""
    most = 0
    for number in range(200_000):
        clock.now += 1
        held = Reservation(str(number), (Charge(Limit("meter", f"key/{number}/requests", 60, MINUTE, 60), 1),))
        await store.reserve(held, lease=2_000)
        most = max(most, len(store))
    assert 11_000 < most < 14_000
