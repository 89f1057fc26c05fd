"""The garbage collector, kept out of the way of open streams."""

import asyncio
import gc
from typing import Final

from crplugins.core.free_memory import FreeMemory

FEW_TASKS: Final = 300
"""A full collection with so many requests running takes some milliseconds."""

QUIET_SECONDS: Final = 60.0
LONGEST_SECONDS: Final = 3600.0


async def collect_when_quiet() -> None:
    """Runs full collections while few requests are running, and no others for an hour. For a task of a server's.

    A full collection looks at every object of every open stream: with 5,000 of them nothing moves for half a second.
    The collector would begin one whenever there are a quarter more objects than at the last. A request leaves nothing
    that only a full collection would find, so it can wait; what the youngest leave is still collected at once.

    What is free after one is given back to the operating system.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    loop = asyncio.get_running_loop()
    last = loop.time()
    try:
        free_memory = await asyncio.to_thread(FreeMemory.of_this_process)
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            quiet = len(asyncio.all_tasks()) <= FEW_TASKS
            if quiet or loop.time() - last >= LONGEST_SECONDS:
                gc.collect()
                last = loop.time()
            if quiet:
                await asyncio.to_thread(free_memory.give_back)
    finally:
        gc.set_threshold(*thresholds)


def collect_what_has_ended() -> None:
    """A full collection at once, for who leaves thousands of objects in circles, such as a configuration that another
    one has replaced: a minute of reloads, one after the other, would take some hundred megabytes.

    Only on an event loop on which `collect_when_quiet` runs, as elsewhere the collector sees to it by itself; and not
    while many requests are running.
    """
    if gc.get_threshold()[2] == _NEVER and len(asyncio.all_tasks()) <= FEW_TASKS:
        gc.collect()


_NEVER: Final = 2**31 - 1
