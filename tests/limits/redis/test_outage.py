"""A Redis server that is hurt while requests run: no request waits long, the policy decides, all comes back by itself."""

import asyncio
import time

import pytest

from crplugins.limits.availability import CircuitBreaker
from crplugins.limits.outage import GuardedStore
from crplugins.limits.redis.client import CONNECTIONS, SECONDS
from crplugins.limits.redis.store import RedisStore
from crplugins.limits.store import StoreUnavailable
from tests.limits.conftest import DAY, lease, meter, request, until
from tests.ports import free_port
from tests.redis_setup import RedisServer


class Traffic:
    """Eight clients that reserve and settle without a pause.

    Attributes:
        admitted, refused, failed: how many reservations ended so.
        slowest: seconds that a reservation or a settlement took at most.
        control: seconds that a sleep for as long as a call may take lasted at most; on a busy machine it is late, too.
    """

    def __init__(self, store, *limits):
        self._store, self._limits = store, limits
        self.admitted = self.refused = self.failed = 0
        self.slowest = self.control = 0.0

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._client()) for _ in range(8)]
        self._tasks.append(asyncio.create_task(self._watch()))
        return self

    async def __aexit__(self, *error):
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    async def _client(self):
        while True:
            reservation = request(*self._limits)
            try:
                decision = await self._timed(self._store.reserve(reservation))
            except StoreUnavailable:
                self.failed += 1
            else:
                if decision.refused is None:
                    self.admitted += 1
                    await self._timed(self._store.settle(reservation, [1] * len(self._limits)))
                else:
                    self.refused += 1
            await asyncio.sleep(0.001)

    async def _timed(self, call):
        before = time.monotonic()
        try:
            return await call
        finally:
            self.slowest = max(self.slowest, time.monotonic() - before)

    async def _watch(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(SECONDS)
            self.control = max(self.control, time.monotonic() - before)

    async def flows(self, seconds=0.2):
        """Waits, and sees that requests are being decided."""
        before = self.admitted + self.refused + self.failed
        await asyncio.sleep(seconds)
        await until(lambda: self.admitted + self.refused + self.failed > before + 8)

    def check(self):
        """No request waited for the end of the outage, which lasts ten times as long as a call may take."""
        assert self.slowest < 3 * self.control, (self.slowest, self.control)


def guarded(redis, policy="local", **options):
    return GuardedStore(
        RedisStore(redis.url, **options), on_store_error=policy, breaker=CircuitBreaker(first=0.2, longest=0.4)
    )


ENDLESS = (meter(10**9), lease(100))


def hang(redis):
    redis.stop()
    return redis.cont


def die(redis):
    redis.kill()
    return redis.start


def become_a_replica(redis):
    redis.command("REPLICAOF", "127.0.0.1", free_port())
    return lambda: redis.command("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("hurt", [hang, die, become_a_replica])
async def test_local_while_redis_is_hurt(fragile_redis, hurt):
    async with guarded(fragile_redis) as store, Traffic(store, *ENDLESS) as traffic:
        await traffic.flows()
        assert not store.unavailable
        heal = await asyncio.to_thread(hurt, fragile_redis)
        await until(lambda: store.unavailable)
        await traffic.flows(1)
        assert store.unavailable
        await asyncio.to_thread(heal)
        await until(lambda: not store.unavailable)
        await traffic.flows()
        assert not store.unavailable
        assert (traffic.refused, traffic.failed) == (0, 0)
        traffic.check()
    assert store.lost == 0


@pytest.mark.parametrize("hurt", [hang, die])
async def test_closed_while_redis_is_hurt(fragile_redis, hurt):
    async with guarded(fragile_redis, "closed") as store, Traffic(store, *ENDLESS) as traffic:
        await traffic.flows()
        heal = await asyncio.to_thread(hurt, fragile_redis)
        await until(lambda: store.unavailable)
        admitted = traffic.admitted
        await traffic.flows(1)
        assert traffic.admitted == admitted
        await asyncio.to_thread(heal)
        await until(lambda: not store.unavailable)
        failed = traffic.failed
        await traffic.flows()
        assert traffic.failed == failed > 8
        traffic.check()


async def test_open_while_redis_hangs(fragile_redis):
    async with guarded(fragile_redis, "open") as store, Traffic(store, meter(5), lease(1)) as traffic:
        await traffic.flows()
        assert traffic.admitted <= 6
        fragile_redis.stop()
        await until(lambda: store.unavailable)
        await traffic.flows(1)
        await until(lambda: traffic.admitted > 100)
        fragile_redis.cont()
        await until(lambda: not store.unavailable)
        admitted = traffic.admitted
        await traffic.flows(0.5)
        assert traffic.admitted <= admitted + 1
        traffic.check()


async def test_scripts_and_data_that_vanish_interrupt_nothing(fragile_redis):
    async with guarded(fragile_redis, "closed", seconds=2) as store, Traffic(store, *ENDLESS) as traffic:
        for _ in range(5):
            await traffic.flows(0.1)
            await asyncio.to_thread(fragile_redis.command, "SCRIPT", "FLUSH")
            await traffic.flows(0.1)
            await asyncio.to_thread(fragile_redis.command, "FLUSHALL")
        assert (traffic.refused, traffic.failed, store.failures) == (0, 0, 0)


async def test_hundreds_of_requests_at_once_are_let_go_together_when_redis_hangs(fragile_redis):
    async with guarded(fragile_redis) as store:
        await store.reserve(request(meter()))
        fragile_redis.stop()
        before = time.monotonic()
        pause = asyncio.create_task(lasted(asyncio.sleep(SECONDS)))
        decisions = await asyncio.gather(*[store.reserve(request(meter(50, period=DAY))) for _ in range(400)])
        turns = 400 / CONNECTIONS
        assert time.monotonic() - before < turns / 2 * await pause  # in turns it would be as many of them
        assert sum(decision.refused is None for decision in decisions) == 50
        next_one = asyncio.create_task(store.reserve(request(meter())))
        await asyncio.sleep(0)
        assert next_one.done()  # it waits for nothing


async def lasted(waiting):
    before = time.monotonic()
    await waiting
    return time.monotonic() - before


async def test_leases_that_redis_took_while_it_hung_are_given_back(fragile_redis):
    async with guarded(fragile_redis) as store:
        assert (await store.reserve(request(lease(8)))).refused is None
        fragile_redis.stop()
        await asyncio.gather(*[store.reserve(request(lease(8))) for _ in range(8)])
        fragile_redis.cont()
        await until(lambda: not store.unavailable)
        async with RedisStore(fragile_redis.url) as other:

            async def held():
                return (await other.levels([lease(8)]))[0].used

            async with asyncio.timeout(60):
                while await held() != 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert await held() == 1


async def test_a_gateway_starts_while_redis_is_down_and_uses_it_when_it_is_there(caplog):
    redis = RedisServer()
    async with guarded(redis) as store, Traffic(store, meter(10)) as traffic:
        assert "Redis refuses the connection; meanwhile each process allows its share of the limits" in caplog.text
        assert "127.0.0.1" not in caplog.text
        await traffic.flows()
        assert traffic.admitted == 10
        await asyncio.to_thread(redis.start)
        try:
            await until(lambda: not store.unavailable)
            await until(lambda: traffic.admitted == 20)
        finally:
            redis.close()


async def test_a_wrong_password_is_logged_at_the_start(caplog):
    redis = RedisServer("--requirepass", "hunter2")
    redis.start()
    try:
        url = redis.url.replace("//", "//:hunter3@")
        async with GuardedStore(RedisStore(url), on_store_error="closed") as store:
            with pytest.raises(StoreUnavailable):
                await store.reserve(request(meter()))
        assert "Redis refuses the user name or password" in caplog.text
        assert "hunter" not in caplog.text
    finally:
        redis.close()


async def test_a_start_before_a_server_that_hangs_does_not_wait_for_it(fragile_redis):
    fragile_redis.stop()
    async with asyncio.timeout(60), guarded(fragile_redis) as store:
        assert store.unavailable
