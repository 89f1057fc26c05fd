"""What the interpreter and the event loop keep of small objects behind a burst lies no longer all over the process."""

import asyncio
import random
import sys

import pytest
import uvloop

from crplugins.core.free_lists import forget_attributes, renew_free_lists


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the cache of types holds names that live for ever alone")
def test_names_of_attributes_that_were_asked_for_are_held_no_longer():
    names = ["".join(("attribute ", str(number))) for number in range(100)]
    for name in names:
        assert not hasattr(object(), name)
    held = sum(sys.getrefcount(name) for name in names)
    forget_attributes()
    assert held - sum(sys.getrefcount(name) for name in names) > 50


def megabytes_of(objects):
    return {id(each) >> 20 for each in objects}


def scattered(made):
    """Ends all of them, so that the last, which are those that are kept, lie anywhere."""
    random.Random(7).shuffle(made)
    while made:
        made.pop()


@pytest.mark.parametrize("kind", ["steps", "timers", "waits"])
def test_what_the_event_loop_keeps_lies_side_by_side(kind):
    async def kept():
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        async def make(count):
            if kind == "waits":
                return [future.__await__() for _ in range(count)]
            made = [loop.call_later(60, int) if kind == "timers" else loop.call_soon(int) for _ in range(count)]
            for each in made:
                each.cancel()
            await asyncio.sleep(0)
            return made

        scattered(await make(50_000))
        before = megabytes_of(await make(250))
        scattered(await make(50_000))
        await renew_free_lists()
        return len(before), len(megabytes_of(await make(250)))

    before, after = uvloop.run(kept())
    assert before > 3
    assert after <= before / 2
