"""What a burst has left free goes back to the operating system, where glibc keeps it."""

import asyncio

import pytest

from crplugins.core import collector
from crplugins.core.collector import collect_when_quiet
from crplugins.core.free_memory import NOTICEABLE_BYTES, WORTHWHILE_BYTES, FreeMemory, glibc_trim, resident_bytes

MEGABYTE = 1 << 20


def fragments(megabytes):
    """So much that is free, between pieces of which each is in use: more than Python's allocator for small objects takes."""
    pieces = [bytes(4096) for _ in range(megabytes * 256)]
    return pieces[::100]


async def test_what_is_free_between_pieces_in_use_is_given_back():
    if glibc_trim() is None:
        pytest.skip("this is no glibc")
    memory = await asyncio.to_thread(FreeMemory.of_this_process)
    kept = await asyncio.to_thread(fragments, 128)
    before = await asyncio.to_thread(resident_bytes)
    assert await asyncio.to_thread(memory.has_grown)
    await asyncio.to_thread(memory.give_back)
    after = await asyncio.to_thread(resident_bytes)
    assert before - after > 64 * MEGABYTE
    assert len(kept) > 100


def memory_of(sizes, trimmed):
    return FreeMemory(lambda: sizes.pop(0), lambda pad: trimmed.append(pad))


def has_grown(memory):
    if grown := memory.has_grown():
        memory.give_back()
    return grown


def test_it_asks_when_the_process_has_grown_enough_since_it_was_smallest():
    trimmed = []
    usual, grown = 100 * MEGABYTE, 100 * MEGABYTE + WORTHWHILE_BYTES
    sizes = [usual, grown - 1, grown, usual - MEGABYTE, grown - MEGABYTE - 1, grown - MEGABYTE, 0]
    memory = memory_of(sizes, trimmed)
    assert [has_grown(memory) for _ in range(4)] == [False, True, False, True]
    assert trimmed == [0, 0]


def test_it_asks_again_while_something_comes_of_it_and_no_longer():
    trimmed = []
    much = 200 * MEGABYTE
    given = [much, much - NOTICEABLE_BYTES, much, much - NOTICEABLE_BYTES + 1]
    memory = memory_of([100 * MEGABYTE, *given, much, much - 1 + WORTHWHILE_BYTES], trimmed)
    assert [has_grown(memory) for _ in range(3)] == [True, True, False]
    assert trimmed == [0, 0]


def test_where_nothing_can_be_given_back_nothing_is_asked():
    memory = FreeMemory(lambda: pytest.fail("asked"), None)
    assert not memory.has_grown()


@pytest.mark.parametrize("busy", [False, True])
async def test_it_is_asked_for_in_a_thread_after_a_collection_and_not_while_many_requests_run(monkeypatch, busy):
    asked = []

    class Memory:
        @classmethod
        def of_this_process(cls):
            return cls()

        def has_grown(self):
            return not asked

        def give_back(self):
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            asked.append("asked")

    monkeypatch.setattr(collector, "FreeMemory", Memory)
    monkeypatch.setattr(collector, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(collector, "FEW_TASKS", 0 if busy else 300)
    task = asyncio.create_task(collect_when_quiet())
    if busy:
        for _ in range(30):
            await asyncio.sleep(0.002)
    else:
        async with asyncio.timeout(30):
            while not asked:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert bool(asked) is not busy
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
