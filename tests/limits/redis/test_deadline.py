"""Deadline: a server has its time, and an event loop that was held up takes none of it."""

import asyncio
import time

import pytest

from crplugins.limits.redis.client import Deadline
from crplugins.limits.redis.store import RedisStore
from tests.limits.conftest import meter, request


def hold_up(seconds=0.2):
    time.sleep(seconds)


async def test_what_takes_too_long_is_a_timeout():
    seconds, before = 0.05, time.monotonic()
    with pytest.raises(TimeoutError):
        async with Deadline(seconds):
            await asyncio.Event().wait()
    assert time.monotonic() - before >= seconds


async def test_what_is_done_in_time_is_not_and_leaves_no_timer():
    seconds = 0.01
    async with Deadline(seconds):
        await asyncio.sleep(0)
    await asyncio.sleep(3 * seconds)


async def test_errors_and_cancellation_pass():
    with pytest.raises(KeyError):
        async with Deadline(1):
            raise KeyError

    async def work():
        async with Deadline(1):
            await asyncio.sleep(1)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_answer_that_came_while_the_event_loop_was_held_up_is_in_time(redis):
    async with RedisStore(redis.url) as store:
        await store.reserve(request(meter()))
        for _ in range(5):
            reserving = asyncio.create_task(store.reserve(request(meter())))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            hold_up()
            assert (await reserving).refused is None


async def test_a_loop_that_was_held_up_is_given_a_little_more_time_once():
    times = 0
    with pytest.raises(TimeoutError):
        async with Deadline(0.01):
            while True:
                hold_up(0.1)  # longer than both times together
                times += 1
                await asyncio.sleep(0)
    assert 3 < times < 7  # three without, and no end if there were more each time
