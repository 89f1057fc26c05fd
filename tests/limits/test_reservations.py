"""Reservations: what is adjusted while a request runs is settled from there, in whatever order a store is done."""

import asyncio

import pytest

from crplugins.limits.limit import Charge
from crplugins.limits.memory import MemoryStore
from crplugins.limits.reservations import Reservations
from crplugins.limits.store import StoreUnavailable
from tests.limits.conftest import lease, meter

LIMIT, PARALLEL = meter(1_000_000, period=86_400_000), lease(5)
NOW = 1_700_000_000_000
CHARGES = (Charge(LIMIT, 100), Charge(PARALLEL, 1))


class Remote:
    """A store whose calls take a while, one after the other as they are let through; some fail before they arrive."""

    def __init__(self):
        self.inner = MemoryStore()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failing = False
        self.adjusted = []

    async def reserve(self, reservation, **options):
        return await self.inner.reserve(reservation, **options)

    async def adjust(self, reservation, costs, **options):
        await self.gate.wait()
        if self.failing:
            raise StoreUnavailable("Redis timed out")
        self.adjusted.append(costs[0])
        return await self.inner.adjust(reservation, costs, **options)

    async def settle(self, reservation, costs, **options):
        return await self.inner.settle(reservation, costs, **options)

    async def levels(self, limits, **options):
        return await self.inner.levels(limits, **options)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        pass


async def used(reservations):
    return [reading.used for reading in await reservations.levels([LIMIT, PARALLEL])]


@pytest.mark.parametrize("store", [MemoryStore, Remote])
async def test_what_was_adjusted_is_settled_to_the_real_cost(store):
    reservations = Reservations(store(), clock=lambda: NOW)
    async with reservations:
        reservation, _ = await reservations.reserve("a", CHARGES)
        for tokens in (400, 900):
            reservations.adjust(reservation, [tokens, 1])
            await asyncio.sleep(0.001)
            assert await used(reservations) == [tokens, 1]
        reservations.settle(reservation, [700, 1])
    assert await used(reservations) == [700, 0]


async def test_a_settlement_waits_for_the_adjustment_before_it_and_another_does_not_wait():
    store = Remote()
    reservations = Reservations(store, clock=lambda: NOW)
    async with reservations:
        reservation, _ = await reservations.reserve("a", CHARGES)
        store.gate.clear()
        for tokens in (400, 500, 600):  # the stream has said more before the store has answered once
            reservations.adjust(reservation, [tokens, 1])
        await asyncio.sleep(0.001)
        reservations.settle(reservation, [700, 1])
        await asyncio.sleep(0.001)
        assert await used(reservations) == [100, 1]
        store.gate.set()
    assert (store.adjusted, await used(reservations)) == ([400], [700, 0])


async def test_an_adjustment_that_fails_changes_nothing_and_the_next_is_made():
    store = Remote()
    reservations = Reservations(store, clock=lambda: NOW)
    async with reservations:
        reservation, _ = await reservations.reserve("a", CHARGES)
        for store.failing, left in ((True, 100), (False, 400)):
            reservations.adjust(reservation, [400, 1])
            await asyncio.sleep(0.001)
            assert await used(reservations) == [left, 1]
        reservations.settle(reservation, [700, 1])
    assert await used(reservations) == [700, 0]


@pytest.mark.parametrize("store", [MemoryStore, Remote])
async def test_what_is_settled_is_adjusted_no_more(store):
    reservations = Reservations(store(), clock=lambda: NOW)
    async with reservations:
        reservation, _ = await reservations.reserve("a", CHARGES)
        reservations.settle(reservation, [700, 1])
        reservations.adjust(reservation, [900, 1])
        await asyncio.sleep(0.001)
        again, _ = await reservations.reserve("a", CHARGES)
        assert await used(reservations) == [800, 1]
        reservations.settle(again, [50, 1])
    assert await used(reservations) == [750, 0]


async def test_closing_ends_though_a_settlement_is_over_whose_end_nobody_was_told_of():
    """The loop runs the callbacks of a task in the turn behind its last; Python 3.12 gathers it without waiting so long."""
    reservations = Reservations(Remote(), clock=lambda: NOW)
    async with reservations:
        reservation, _ = await reservations.reserve("a", CHARGES)
        reservations.settle(reservation, [700, 1])
        await asyncio.sleep(0)
    assert await used(reservations) == [700, 0]
