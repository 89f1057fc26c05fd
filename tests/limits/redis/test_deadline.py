"""Deadline: a server that is silent is given up soon; a slow one, and one beside a busy event loop, is not."""

import asyncio
import itertools
import socket
import time
from contextlib import asynccontextmanager

import pytest

from crplugins.limits.redis.deadline import MOST_PERIODS, Deadline, SignsOfLife
from crplugins.limits.redis.store import RedisStore
from crplugins.limits.store import StoreUnavailable
from tests.limits.conftest import meter, request


def hold_up(seconds=0.2):
    time.sleep(seconds)


@pytest.fixture
def signs():
    return SignsOfLife()


async def ticks_of(deadline, *, each, tick):
    """How many ticks of `tick` seconds pass before a call that never ends is given up; `each` is called in all of them."""
    ticks = 0
    with pytest.raises(TimeoutError):
        async with deadline:
            while True:
                each()
                ticks += 1
                await asyncio.sleep(tick)
    return ticks


async def test_silence_is_a_timeout(signs):
    seconds, before = 0.05, time.monotonic()
    with pytest.raises(TimeoutError):
        async with Deadline(seconds, signs):
            await asyncio.Event().wait()
    assert time.monotonic() - before >= seconds


async def test_what_is_done_in_time_is_not_and_leaves_no_timer(signs):
    seconds = 0.01
    async with Deadline(seconds, signs):
        await asyncio.sleep(0)
    await asyncio.sleep(3 * seconds)


async def test_errors_and_cancellation_pass(signs):
    with pytest.raises(KeyError):
        async with Deadline(1, signs):
            raise KeyError

    async def work():
        async with Deadline(1, signs):
            await asyncio.sleep(1)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_reply_that_came_while_the_event_loop_was_held_up_is_in_time(redis):
    async with RedisStore(redis.url, seconds=0.1) as store:
        await store.reserve(request(meter()))
        for _ in range(5):
            reserving = asyncio.create_task(store.reserve(request(meter())))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            hold_up()
            assert (await reserving).refused is None


async def test_a_reply_that_is_in_the_socket_when_time_is_up_is_in_time_though_no_timer_was_late(signs):
    """The callbacks of one turn: the timer first, the reply behind it."""
    here, there = socket.socketpair()
    with there:
        reader, writer = await asyncio.open_connection(sock=here)
        loop = asyncio.get_running_loop()
        seconds = 0.05
        loop.call_at(loop.time() + seconds, there.send, b"+OK")
        async with Deadline(seconds, signs):
            assert await reader.read(3) == b"+OK"
        writer.close()


async def test_replies_to_other_calls_are_signs_of_life(signs):
    def reply():
        signs.count += 1

    silent = await ticks_of(Deadline(0.05, signs), each=lambda: None, tick=0.01)
    alive = await ticks_of(Deadline(0.05, signs), each=reply, tick=0.01)
    assert alive > silent * MOST_PERIODS / 4  # and not without end


async def test_a_loop_that_is_held_up_all_the_time_makes_no_call_wait_without_end(signs):
    ticks = await ticks_of(Deadline(0.02, signs), each=lambda: hold_up(0.04), tick=0)
    assert MOST_PERIODS <= ticks <= 4 * MOST_PERIODS


async def test_a_server_that_answers_every_other_connection_is_not_silent():
    """Its one slow reply is waited for, several times as long as a silent server is."""
    seconds = 0.1
    async with slow_server(first=4 * seconds) as url, RedisStore(url, seconds=seconds) as store:
        slow = asyncio.create_task(store.seed(meter(), 1))
        await asyncio.sleep(0)
        while not slow.done():  # by a call on another connection, and never on the one that is slow
            await store.seed(meter(), 1)
            await asyncio.sleep(seconds / 10)
        await slow


async def test_a_server_that_never_answers_is_silent_whatever_is_asked_beside():
    seconds = 0.05
    async with slow_server(first=60, others=60) as url, RedisStore(url, seconds=seconds) as store:
        failed = await asyncio.gather(*[store.seed(meter(), 1) for _ in range(32)], return_exceptions=True)
        assert {type(error) for error in failed} == {StoreUnavailable}


class Slow(asyncio.Protocol):
    """Answers each command with 1, so many seconds later."""

    def __init__(self, delay, connections):
        self._delay = delay
        self._connections = connections

    def connection_made(self, transport):
        self._transport = transport
        self._connections.append(transport)

    def data_received(self, data):
        asyncio.get_running_loop().call_later(self._delay, self._transport.write, b":1\r\n")


@asynccontextmanager
async def slow_server(*, first, others=0.0):
    """The URL of a server that is slow: as said, on its first connection and on the others."""
    delays, connections = itertools.chain([first], itertools.repeat(others)), []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Slow(next(delays), connections), "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    for transport in connections:
        transport.abort()
    server.close()
