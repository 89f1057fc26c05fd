"""GuardedStore before a store that fails when it is told to."""

import asyncio
import logging
import re

import pytest

from crplugins.limits import outage
from crplugins.limits.availability import CircuitBreaker
from crplugins.limits.fallback import LocalShare
from crplugins.limits.limit import NEVER, Charge, Decision, Level, LimitReading
from crplugins.limits.memory import MemoryStore
from crplugins.limits.outage import GuardedStore, PendingSettlements
from crplugins.limits.presence import PROCESSES
from crplugins.limits.store import StoreUnavailable
from crplugins.testing import FrozenClock
from tests.limits.conftest import lease, meter, request, until, window

NOW = 1_700_000_000_000


class Failing(MemoryStore):
    """`down`: calls fail at once. `hangs`: they wait. `deaf`: they are executed, and then fail."""

    def __init__(self):
        super().__init__()
        self.down = self.deaf = self.hangs = False
        self.calls = 0
        self.reserved = []

    async def _arrive(self):
        self.calls += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            raise StoreUnavailable("Redis cannot be reached")

    async def reserve(self, reservation, **options):
        await self._arrive()
        decision = await super().reserve(reservation, **options)
        self.reserved.append(reservation.id)
        self._leave()
        return decision

    async def settle(self, reservation, costs, **options):
        await self._arrive()
        return await super().settle(reservation, costs, **options)

    async def renew(self, reservations, **options):
        await self._arrive()
        await super().renew(reservations, **options)

    async def levels(self, limits, **options):
        await self._arrive()
        return await super().levels(limits, **options)

    async def seed(self, limit, used):
        await self._arrive()
        await super().seed(limit, used)

    def _leave(self):
        if self.deaf:
            raise StoreUnavailable("Redis timed out")


@pytest.fixture
def store():
    return Failing()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(outage, "LATE_SECONDS", 0.01)


def guarded(store, policy="local", *, first=0.02, **options):
    return GuardedStore(store, on_store_error=policy, breaker=CircuitBreaker(first=first, longest=first), **options)


async def admitted(store, limit, attempts=20):
    decisions = [await store.reserve(request(limit), now=NOW) for _ in range(attempts)]
    return sum(decision.refused is None for decision in decisions)


async def test_a_store_that_answers_decides_alone(store):
    async with guarded(store) as guard:
        assert await admitted(guard, meter(7)) == 7
        assert await admitted(store, meter(7)) == 0
        assert (guard.unavailable, guard.failures, guard.lost) == (False, 0, 0)


async def test_local_each_process_admits_its_share(store):
    for share, count in ((1, 10), (0.5, 5), (0.25, 2), (0.01, 1)):
        for limit in (meter(10), window(10, NOW + 1000), lease(10)):
            async with guarded(store, share=share) as guard:
                store.down = True
                assert await admitted(guard, limit) == count
                store.down = False


async def test_open_admits_everything(store):
    async with guarded(store, "open") as guard:
        store.down = True
        assert await guard.reserve(request(meter(1), lease(1))) == Decision(None, 0, (Level(0, 0),) * 2)
        assert await admitted(guard, meter(1)) == 20
        assert await guard.levels([meter(1)]) == (LimitReading(0, 0, 0),)
        assert guard.unavailable


async def test_closed_raises(store):
    async with guarded(store, "closed") as guard:
        await guard.reserve(request(meter(1)))
        store.down = True
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                await guard.reserve(request(meter(1)))
        with pytest.raises(StoreUnavailable):
            await guard.levels([meter(1)])


async def test_after_three_failures_the_store_is_not_asked_any_more_until_a_probe_succeeds(store):
    async with guarded(store, first=0.1) as guard:
        store.down, store.calls = True, 0
        assert await admitted(guard, meter(50), 30) == 30
        assert store.calls == guard.failures == 3
        assert guard.unavailable
        store.down = False
        await until(lambda: not guard.unavailable)
        store.reserved.clear()
        assert await admitted(guard, meter(50), 1) == 1
        assert len(store.reserved) == 1


async def test_it_recovers_without_any_request(store):
    async with guarded(store) as guard:
        store.down = True
        await admitted(guard, meter())
        await asyncio.sleep(0.1)
        assert guard.unavailable
        store.down = False
        await until(lambda: not guard.unavailable)


async def test_a_store_that_is_down_at_the_start_is_logged_and_started_without(store, caplog):
    store.down = True
    async with guarded(store) as guard:
        assert guard.unavailable
        assert "Redis cannot be reached" in caplog.text
        assert await admitted(guard, meter(7)) == 7
        store.down = False
        await until(lambda: not guard.unavailable)


async def test_one_line_when_it_begins_and_one_when_it_ends(store, caplog):
    caplog.set_level(logging.INFO, "crplugins.limits")
    async with guarded(store, "open") as guard:
        store.down = True
        await admitted(guard, meter(), 2)
        caplog.clear()
        await admitted(guard, meter(), 100)
        await asyncio.sleep(0.1)
        store.down = False
        await until(lambda: not guard.unavailable)
        await admitted(guard, meter(), 100)
    began, ended = [record.getMessage() for record in caplog.records]
    assert began == "the limit store is unavailable: Redis cannot be reached; meanwhile everything is admitted"
    assert re.fullmatch(r"the limit store is available again after 0\.\d s", ended)


async def test_single_failures_are_logged_once_a_minute(store, caplog):
    clock = FrozenClock()
    async with GuardedStore(store, clock=clock) as guard:
        for _ in range(10):
            store.down = True
            await admitted(guard, meter(), 1)
            store.down = False
            await admitted(guard, meter(), 1)
        assert [record.getMessage() for record in caplog.records] == [
            "a call of the limit store failed: Redis cannot be reached"
        ]
        clock.advance(61)
        store.down = True
        await admitted(guard, meter(), 1)
        assert len(caplog.records) == 2
        assert not guard.unavailable


async def test_those_who_wait_for_a_store_that_hangs_are_let_go_when_it_is_given_up(store):
    async with guarded(store, "open") as guard:
        store.hangs = True
        waiting = [asyncio.create_task(guard.reserve(request(meter(1)))) for _ in range(50)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        store.hangs, store.down = False, True
        for _ in range(3):
            await guard.reserve(request(meter(1)))
        async with asyncio.timeout(60):
            assert all(decision.refused is None for decision in await asyncio.gather(*waiting))
        assert guard.failures == 53


async def test_what_was_reserved_locally_is_settled_and_renewed_locally(store):
    async with guarded(store) as guard:
        store.down = True
        await admitted(guard, meter(50), 3)
        here = request(Charge(meter(100, key="t"), 80), lease(1, key="c"))
        assert (await guard.reserve(here, lease=1000, now=NOW)).refused is None
        store.down = False
        await until(lambda: not guard.unavailable)
        calls = store.calls
        await guard.renew([here], lease=1000, now=NOW + 900)
        assert await guard.settle(here, [20, 1], now=NOW + 1800)
        assert not await guard.settle(here, [20, 1], now=NOW + 1800)  # asked of the store: nobody remembers it
        assert store.calls == calls + 1
        store.down = True
        await admitted(guard, meter(50), 3)
        assert (await guard.levels([meter(100, key="t"), lease(1, key="c")], now=NOW))[0].used == 17  # 3 have drained


async def test_a_settlement_during_an_outage_is_made_afterwards(store):
    async with guarded(store) as guard:
        there = request(Charge(meter(100, key="t"), 80), lease(1, key="c"))
        await guard.reserve(there)
        store.down = True
        assert not await guard.settle(there, [30, 1])
        await admitted(guard, meter(), 3)
        store.down = False
        await until(lambda: not guard.unavailable)
        await held_by_nobody(store)
        [used] = await store.levels([meter(100, key="t")])
        assert used.used <= 30  # and less, the slower this machine is
        assert guard.lost == 0


async def test_pending_settlements_are_settled_before_the_store_is_exited(store, monkeypatch):
    monkeypatch.setattr(outage, "LATE_SECONDS", 60)
    async with guarded(store) as guard:
        there = request(lease(1, key="c"))
        await guard.reserve(there)
        store.down = True
        await guard.settle(there, [1])
        store.down = False
    assert (await store.levels([lease(1, key="c")]))[0].used == 0


async def test_what_the_store_charged_without_an_answer_is_given_back(store):
    async with guarded(store) as guard:
        store.deaf = True
        assert (await guard.reserve(request(Charge(meter(100, key="t"), 80), lease(1, key="c")))).refused is None
        store.deaf = False
        assert (await store.levels([lease(1, key="c")]))[0].used == 1
        await held_by_nobody(store)
        assert await store.levels([meter(100, key="t")]) == (LimitReading(0, 0, 0),)


async def test_what_a_client_that_went_away_may_have_reserved_is_given_back(store, monkeypatch):
    async with guarded(store) as guard:
        arrived = asyncio.Event()

        async def never():
            arrived.set()
            await asyncio.Event().wait()

        reservation = request(lease(1, key="c"))
        monkeypatch.setattr(store, "_leave", lambda: None)
        reserve = store.reserve

        async def slow(reservation, **options):
            await reserve(reservation, **options)
            await never()

        monkeypatch.setattr(store, "reserve", slow)
        task = asyncio.create_task(guard.reserve(reservation))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await held_by_nobody(store)
        assert guard.failures == 0


async def held_by_nobody(store):
    """Waits until the lease "c" has been given back."""
    async with asyncio.timeout(60):
        while (await store.levels([lease(1, key="c")]))[0].used:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_settling_and_renewing_and_seeding_never_raise(store):
    for policy in ("local", "open", "closed"):
        async with guarded(store, policy) as guard:
            reservation = request(meter(), window(50, NOW))
            await guard.reserve(reservation)
            for store.down in (True, False):
                for _ in range(4):
                    await guard.settle(reservation, [1, 1])
                    await guard.renew([reservation], lease=1000)
                    await guard.seed(window(50, NOW), 3)


async def test_what_a_window_has_used_is_known_during_an_outage(store):
    limit = window(100, NOW + 1000)
    for share, left in ((1.0, 10), (0.5, 5)):
        async with guarded(store, share=share) as guard:
            await guard.seed(limit, 90)
            store.down = True
            assert await admitted(guard, limit) == left
            store.down = False


async def test_a_share_admits_what_fits_the_whole_when_it_is_empty(store):
    async with guarded(store, share=0.25) as guard:
        store.down = True
        limit = meter(100, key="t")
        assert (await guard.reserve(request(Charge(limit, 101)), now=NOW)).wait == NEVER
        first = await guard.reserve(request(Charge(limit, 60)), now=NOW)
        assert first == Decision(None, 0, (Level(75, 0),))
        second = await guard.reserve(request(Charge(limit, 60)), now=NOW)
        assert (second.refused, second.levels[0].used) == (0, 100)


@pytest.mark.parametrize("share", [0, -1, 1.01])
async def test_a_share_is_above_0_and_at_most_1(store, share):
    with pytest.raises(ValueError):
        guarded(store, share=share)


async def test_settlements_that_come_too_late_or_are_too_many_are_counted(monkeypatch):
    monkeypatch.setattr("crplugins.limits.outage.MOST", 5)
    clock = FrozenClock()
    pending, paid = PendingSettlements(clock=clock), []

    async def settle(reservation, costs, debt):
        paid.append(reservation.id)

    for _ in range(7):
        pending.add(request(meter()), [1], 1.0)
    assert pending.lost == 2
    clock.advance(61)
    pending.add_refund(request(meter()))
    pending.add(last := request(meter()), [1], 1.0)
    assert pending.lost == 4
    await pending.settle_all(settle)
    assert paid[-1] == last.id
    assert len(paid) == 2
    assert pending.lost == 7
    assert not pending


async def test_processes_count_each_other_and_share_the_limits_equally_when_the_store_fails(store, monkeypatch):
    monkeypatch.setattr(outage, "ANNOUNCE_SECONDS", 0.01)
    async with guarded(store) as first, guarded(store) as second, guarded(store) as third:
        async with guarded(store):
            await until(lambda: first.processes == 4)
        await until(lambda: {guard.processes for guard in (first, second, third)} == {3})
        store.down = True
        for limit in (meter(30), window(30, NOW + 1000), lease(30)):
            assert [await admitted(guard, limit) for guard in (first, second, third)] == [10, 10, 10]
    assert (await MemoryStore.levels(store, [PROCESSES]))[0].used == 3  # they could not say that they left


async def test_what_is_left_of_a_window_is_shared_however_many_processes_came_since_it_was_read(store, monkeypatch):
    monkeypatch.setattr(outage, "ANNOUNCE_SECONDS", 0.01)
    limit = window(100, NOW + 1000)
    async with guarded(store) as first:
        await first.seed(limit, 90)
        async with guarded(store) as second:
            await second.seed(limit, 90)
            await until(lambda: first.processes == 2)
            store.down = True
            assert [await admitted(guard, limit) for guard in (first, second)] == [5, 5]


async def test_what_a_share_reserved_is_settled_as_that_though_the_share_is_another_by_then():
    share = [0.25]
    local = LocalShare(lambda: share[0])
    here = request(Charge(meter(100, key="t"), 80))
    assert (await local.reserve(here, now=NOW)).refused is None
    share[0] = 1.0
    assert await local.settle(here, [30], now=NOW)
    assert (await local.levels([meter(100, key="t")], now=NOW))[0].used == 30


async def test_a_reservation_of_the_fallback_is_adjusted_there_and_one_of_the_store_not_during_an_outage(store):
    async with guarded(store, share=0.5) as guard:
        there = request(Charge(meter(100, key="t"), 10))
        await guard.reserve(there, now=NOW)
        store.down = True
        await admitted(guard, meter(), 3)
        here = request(Charge(meter(100, key="t"), 10))
        await guard.reserve(here, now=NOW)
        assert not await guard.adjust(there, [90], now=NOW)
        assert await guard.adjust(here, [40], now=NOW)
        assert (await guard.levels([meter(100, key="t")], now=NOW))[0].used == 50 + 40
        assert await guard.settle(here, [20], now=NOW)
        assert (await guard.levels([meter(100, key="t")], now=NOW))[0].used == 50 + 20


async def test_a_store_that_is_down_at_the_start_is_shared_by_the_processes_that_are_known_without_it(store):
    store.down = True
    async with guarded(store, processes=4) as guard:
        assert await admitted(guard, meter(20)) == 5
        store.down = False
        await until(lambda: not guard.unavailable)
        assert guard.processes == 4
