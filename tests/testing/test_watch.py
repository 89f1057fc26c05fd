import asyncio

import pytest

from crplugins.testing.watch import Watch


async def test_all_who_wait_are_woken_when_their_condition_holds() -> None:
    watch, seen = Watch(), [0]
    waiters = [asyncio.ensure_future(watch.until(lambda n=n: seen[0] >= n, "a number")) for n in (1, 2, 2)]
    for number in (1, 2):
        await asyncio.sleep(0)
        seen[0] = number
        watch.notify()
    await asyncio.wait_for(asyncio.gather(*waiters), 60)


async def test_what_was_waited_for_is_named() -> None:
    with pytest.raises(TimeoutError, match=r"the moon: not within 0\.01 seconds"):
        await Watch().until(lambda: False, "the moon", 0.01)
