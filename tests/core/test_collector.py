"""Full collections wait until few requests are running."""

import asyncio
import gc
from contextlib import suppress

import pytest

from crplugins.core import collector
from crplugins.core.collector import collect_what_has_ended, collect_when_quiet


class Circle:
    left = 0

    def __init__(self):
        Circle.left += 1
        self.me = self

    def __del__(self):
        Circle.left -= 1


@pytest.fixture
async def collecting(monkeypatch):
    monkeypatch.setattr(collector, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(collector, "QUIET_SECONDS", 0.01)
    before = gc.get_threshold()
    task = asyncio.create_task(collect_when_quiet())
    assert await soon(lambda: gc.get_threshold() != before)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert gc.get_threshold() == before


async def soon(holds):
    for _ in range(1000):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return False


async def old_garbage():
    Circle()
    gc.collect(1)  # what a young collection finds it takes
    circle = Circle()
    gc.collect(1)
    del circle
    assert Circle.left == 1


async def test_garbage_that_is_old_is_found_while_few_requests_run(collecting):
    await old_garbage()
    assert await soon(lambda: Circle.left == 0)


async def test_nothing_is_looked_for_while_many_requests_run(collecting, monkeypatch):
    requests = [asyncio.create_task(asyncio.sleep(60)) for _ in range(collector.FEW_TASKS + 1)]
    await old_garbage()
    for _ in range(50):
        await asyncio.sleep(0.01)
    assert Circle.left == 1
    monkeypatch.setattr(collector, "LONGEST_SECONDS", 0.0)  # but not for ever
    assert await soon(lambda: Circle.left == 0)
    for request in requests:
        request.cancel()


async def test_the_collector_begins_no_full_collection_by_itself(collecting):
    full = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(400_000)]
    assert gc.get_stats()[2]["collections"] == full, len(kept)


async def test_what_has_ended_is_collected_at_once_where_nobody_else_would(collecting, monkeypatch):
    monkeypatch.setattr(collector, "FEW_TASKS", 0)  # for the task of `collecting`
    await old_garbage()
    collect_what_has_ended()
    assert Circle.left == 1
    monkeypatch.setattr(collector, "FEW_TASKS", 300)
    collect_what_has_ended()
    assert Circle.left == 0


async def test_where_the_collector_sees_to_it_by_itself_nothing_is_collected():
    await old_garbage()
    collect_what_has_ended()
    assert Circle.left == 1
    gc.collect()
