"""LiveReservations: renewed all at once, three times in the length of a lease, whatever happens."""

import asyncio
import time

from crplugins.limits.memory import MemoryStore
from crplugins.limits.reservations import LiveReservations
from crplugins.limits.store import StoreUnavailable
from tests.limits.conftest import lease, request, until


class Watched(MemoryStore):
    def __init__(self):
        super().__init__()
        self.renewed = []
        self.error = None

    async def renew(self, reservations, *, lease, now=None):
        self.renewed.append([reservation.id for reservation in reservations])
        if self.error:
            raise self.error
        await super().renew(reservations, lease=lease, now=now)


async def test_reservations_live_as_long_as_they_are_held_and_a_lease_longer():
    store, held, length = Watched(), request(lease(1)), 0.6
    await store.reserve(held, lease=round(length * 1000))
    began = time.monotonic()
    async with LiveReservations(store, round(length * 1000)) as live:
        live.add(held)
        await until(lambda: len(store.renewed) >= 4)
        took = time.monotonic() - began
        assert (await store.levels([lease(1)]))[0].used == 1
    assert took > length
    assert len(store.renewed) <= 3 * took / length + 1
    async with asyncio.timeout(60):
        while (await store.levels([lease(1)]))[0].used:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_one_call_renews_all_and_none_is_made_for_none():
    store, held = Watched(), [request(lease(9)) for _ in range(5)]
    async with LiveReservations(store, 60) as live:
        await asyncio.sleep(0.1)
        assert store.renewed == []
        for reservation in held:
            live.add(reservation)
        live.discard(held[0])
        live.discard(held[0])
        assert len(live) == 4
        await until(lambda: store.renewed)
    assert store.renewed[0] == [reservation.id for reservation in held[1:]]


async def test_a_store_that_fails_is_asked_again(caplog):
    store = Watched()
    store.error = StoreUnavailable("Redis cannot be reached")
    async with LiveReservations(store, 30) as live:
        live.add(request(lease()))
        await until(lambda: len(store.renewed) > 2)
        store.error = RuntimeError("a mistake")
        await until(lambda: len(store.renewed) > 5)
    assert "1 reservations could not be renewed: Redis cannot be reached" in caplog.text


async def test_it_ends_while_the_store_hangs():
    class Hanging(Watched):
        async def renew(self, reservations, *, lease, now=None):
            self.renewed.append(reservations)
            await asyncio.Event().wait()

    store = Hanging()
    async with asyncio.timeout(60):
        async with LiveReservations(store, 30) as live:
            live.add(request(lease()))
            await until(lambda: store.renewed)
