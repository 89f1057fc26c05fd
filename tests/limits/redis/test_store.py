"""RedisStore against a real server: the same decisions as in memory, in one round trip each."""

import asyncio
import time

import pytest

from crplugins.limits.limit import NEVER, Charge, Decision, Level, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.redis.store import RENEWED_AT_ONCE, RedisStore
from crplugins.limits.store import LEASE_MILLISECONDS, StoreUnavailable
from tests.limits.conftest import DAY, lease, meter, request, window
from tests.limits.differential import differences, operations
from tests.redis_setup import RedisServer

PATIENT = 5
"""Seconds: decisions are the subject here, not how busy the machine is."""

SIX = (
    Charge(meter(60, key="key/a/requests"), 1),
    Charge(meter(100_000, key="key/a/tokens"), 1500),
    Charge(meter(5_000, key="key/a/requests/day", period=86_400_000), 1),
    Charge(meter(2_000_000, key="model/m/tokens"), 1500),
    Charge(Limit("window", "key/a/budget", 50_000_000, 4_000_000_000_000), 300),
    Charge(lease(8), 1),
)


@pytest.fixture
async def store(redis):
    async with RedisStore(redis.url, seconds=PATIENT) as store:
        yield store


@pytest.mark.parametrize("seed", [1, 2])
async def test_thousands_of_random_operations_are_decided_as_in_memory(redis, seed):
    async with RedisStore(redis.url, connections=1, seconds=PATIENT) as store:
        assert await differences(MemoryStore(), store, operations(seed), together=50) == []


async def test_nobody_waits_until_a_server_whose_clock_went_back_is_as_late_again(store):
    later, now = round(time.time() * 1000), round(time.time() * 1000) - 86_400_000
    await store.reserve(request(Charge(meter(60), 60), lease(1)), now=later)
    assert (await store.reserve(request(meter(60), lease(1)), now=now)).refused is not None
    assert (await store.reserve(request(meter(60)), now=now + 999)).wait == 1
    assert (await store.reserve(request(meter(60)), now=now + 1_000)).refused is None
    assert (await store.reserve(request(lease(1)), now=now + LEASE_MILLISECONDS - 1)).refused == 0
    assert (await store.reserve(request(lease(1)), now=now + LEASE_MILLISECONDS)).refused is None


async def test_a_reservation_and_its_settlement_take_one_round_trip_each(redis, store):
    await store.settle(await reserved(store, *SIX), [1, 200, 1, 200, 100, 1])  # the server learns the scripts
    redis.command("CONFIG", "RESETSTAT")
    reservation = await reserved(store, *SIX)
    assert redis.top_level_calls() == {"evalsha": 1}
    assert await store.settle(reservation, [1, 200, 1, 200, 100, 1])
    assert redis.top_level_calls() == {"evalsha": 2}


async def test_renewing_takes_one_round_trip_for_hundreds_of_reservations(redis, store):
    held = [await reserved(store, lease(10_000), meter(10_000)) for _ in range(RENEWED_AT_ONCE)]
    await store.renew(held, lease=60_000)
    redis.command("CONFIG", "RESETSTAT")
    await store.renew(held, lease=60_000)
    assert redis.top_level_calls() == {"evalsha": 1}
    await store.renew([*held, held[0]], lease=60_000)
    assert redis.top_level_calls() == {"evalsha": 3}
    await store.renew([], lease=60_000)
    assert redis.top_level_calls() == {"evalsha": 3}


async def test_scripts_that_the_server_has_lost_are_sent_again(redis, store):
    limits = [meter(), window(50, 4_000_000_000_000), lease()]
    for _ in range(2):
        redis.command("SCRIPT", "FLUSH")
        reservation = await reserved(store, *limits)
        redis.command("SCRIPT", "FLUSH")
        await store.renew([reservation], lease=60_000)
        redis.command("SCRIPT", "FLUSH")
        assert [level.used for level in await store.levels(limits)][1:] == [1, 1]  # the meter drains
        redis.command("SCRIPT", "FLUSH")
        await store.seed(limits[1], 1)
        redis.command("SCRIPT", "FLUSH")
        assert await store.settle(reservation, [0, 0, 1])


async def test_a_server_that_was_emptied_starts_anew(redis, store):
    reservation = await reserved(store, meter(1), lease(1))
    redis.command("FLUSHALL")
    assert not await store.settle(reservation, [1, 1])
    await reserved(store, meter(1), lease(1))


@pytest.mark.parametrize("options", ["", "?max_connections=1"])
async def test_many_more_requests_than_connections_wait_their_turn(redis, options):
    async with RedisStore(redis.url + options, connections=2, seconds=PATIENT) as store:
        decisions = await asyncio.gather(*[store.reserve(request(meter(50, period=DAY))) for _ in range(500)])
    assert [decision.refused for decision in decisions] == [None] * 50 + [0] * 450


async def test_a_request_that_is_given_up_while_it_waits_takes_no_connection_with_it(redis):
    async with RedisStore(redis.url, connections=2, seconds=PATIENT) as store:
        for _ in range(20):
            asking = [asyncio.ensure_future(store.reserve(request(meter(10_000)))) for _ in range(20)]
            await asyncio.sleep(0)
            for task in asking[::2]:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        assert (await store.reserve(request(meter(10_000)))).refused is None


async def test_all_keys_have_one_tag(redis):
    async with RedisStore(redis.url, tag="acme", seconds=PATIENT) as store:
        await reserved(store, *SIX)
    keys = redis.command("KEYS", "*").split(b"\r\n")[2::2]
    assert len(keys) == 8
    assert all(key.startswith(b"crp:{acme}:") for key in keys)


async def test_a_node_of_a_cluster_finds_all_keys_in_one_slot():
    server = RedisServer("--cluster-enabled", "yes")
    server.start()
    try:
        server.command("CLUSTER", "ADDSLOTS", *range(16384))
        for _ in range(100):
            if b"cluster_state:ok" in server.command("CLUSTER", "INFO"):
                break
            await asyncio.sleep(0.05)
        async with RedisStore(server.url, seconds=PATIENT) as store:
            reservation = await reserved(store, *SIX)
            await store.renew([reservation], lease=60_000)
            assert len(await store.levels([charge.limit for charge in SIX])) == 6
            assert await store.settle(reservation, [0] * 6)
    finally:
        server.close()


async def test_the_servers_clock_counts(redis, store):
    limit = meter(100, period=100_000)
    await reserved(store, Charge(limit, 100))
    refused = await store.reserve(request(Charge(limit, 1)))
    assert refused.refused == 0
    assert 0 < refused.wait <= 1000
    end = int(time.time() * 1000) + 60_000
    (level,) = await store.levels([window(10, end)])
    assert level.used == 0
    assert 50_000 < level.reset < 61_000


async def test_state_is_kept_no_longer_than_it_matters(redis, store):
    end = int(time.time() * 1000) + 10_000
    await reserved(store, Charge(meter(60, key="m"), 30), window(10, end, key="w"), lease(5, key="c"), lease_ms=20_000)

    def lives(key):
        return int(redis.command("PTTL", f"crp:{{crp}}:{key}")[1:])

    assert 59_000 < lives("l:m") <= 60_000  # it drains in 30 s, and its use is remembered for a period
    assert 69_000 < lives(f"l:w/{end}") <= 70_000
    assert DAY < lives("l:c") <= DAY + 20_000  # whoever set the server's clock would delete the leases of all otherwise


async def test_a_window_is_raised_to_what_is_known_of_it_and_never_lowered(redis, store):
    limit = window(100, int(time.time() * 1000) + 10_000)
    await store.seed(limit, 40)
    await store.seed(limit, 30)
    assert (await store.levels([limit]))[0].used == 40
    assert (await store.reserve(request(Charge(limit, 61)))).refused == 0
    assert (await store.reserve(request(Charge(limit, 101)))).wait == NEVER


async def test_a_decision_has_the_levels_before_it(redis, store):
    now = 1_700_000_000_000
    limits = [meter(30_000, key="t"), window(100, now + 5_000), lease(2)]
    charges = [Charge(limits[0], 14_567), Charge(limits[1], 3), Charge(limits[2], 1)]
    first = await store.reserve(request(*charges), now=now)
    assert first == Decision(None, 0, (Level(0, 0), Level(0, 5_000), Level(0, 0)))
    second = await store.reserve(request(Charge(limits[0], 24_754), *charges[1:]), now=now)
    assert second == Decision(0, 18_642, (Level(14_567, 29_134), Level(3, 5_000), Level(1, 0)))


async def test_levels_of_nothing_and_a_reservation_of_nothing(redis, store):
    assert await store.levels([]) == ()
    nothing = Reservation("nothing", ())
    assert await store.reserve(nothing) == Decision(None, 0, ())
    assert await store.settle(nothing, [])
    assert not await store.settle(nothing, [])


async def reserved(store, *charges, lease_ms=60_000):
    reservation = request(*charges)
    assert (await store.reserve(reservation, lease=lease_ms)).refused is None
    return reservation


@pytest.mark.parametrize("answer", [b":5\r\n", b"*-1\r\n", b"$2\r\nOK\r\n", b"+OK\r\n", b"?what\r\n"])
async def test_what_is_no_answer_of_a_script_is_an_outage(answer):
    ended = asyncio.Event()

    async def talk(reader, writer):
        while command := await reader.read(65536):
            writer.write(answer if b"EVAL" in command else b"+OK\r\n")
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    async with server, RedisStore(url, seconds=PATIENT) as store:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.reserve(request(meter(50)))
            with pytest.raises(StoreUnavailable):
                await store.levels([meter(50)])
    await ended.wait()
