"""Lets go of single small objects that a burst has left, each of which keeps a megabyte of this process.

Python's allocator takes a megabyte at a time for small objects, and gives it back when no object is left in it. Some
hundreds of objects stay of 5,000 streams, spread over all the megabytes that the streams had: names of attributes in
the interpreter's cache of types, and what uvloop and asyncio keep for the next timers. They would hold 100 MB.
"""

import asyncio
import sys
from collections.abc import Callable
from contextvars import copy_context
from itertools import repeat
from typing import Any, Final

_MADE: Final = 512
"""Twice what is kept of each kind: 250 by uvloop, 255 by asyncio."""

_GAPS: Final = 8000
"""As many pieces of one size a burst leaves free between those in use, or more."""

_LATER: Final = 3600.0


def forget_attributes() -> None:
    """Empties the cache of types, which fills again at once.

    It holds the names of attributes that were looked up last. C code that asks by a text of its own, as in `json` and
    `datetime`, has a new object made each time, so of one name there are hundreds.
    """
    import ctypes  # which nothing else needs

    ctypes.pythonapi.PyType_ClearCache()


async def renew_free_lists() -> None:
    """Has the event loop keep objects for its next steps, timers and waits that lie side by side. Each takes it a
    millisecond or two.

    Twice as many are made as are kept. The first of them are those that were kept. The last, which are new, end first
    and are kept from then on, and the others are freed.
    """
    loop, context = asyncio.get_running_loop(), copy_context()
    future: asyncio.Future[None] = loop.create_future()

    def timer() -> asyncio.TimerHandle:
        made = loop.call_later(_LATER, _nothing, context=context)
        made.cancel()
        return made

    await _renew(timer)
    await _renew(lambda: loop.call_soon(_nothing, context=context))
    await _renew(future.__await__)


async def _renew(make: Callable[[], Any]) -> None:
    made = [make() for _ in range(_MADE // 2)]
    gaps = list(map(bytes, repeat(_room_of(made[0]), _GAPS)))  # so that what is made next lies after all of them
    made += [make() for _ in range(_MADE // 2)]
    del gaps
    await asyncio.sleep(0)  # until the loop has run the steps, and holds none of them
    while made:
        made.pop()


def _room_of(example: object) -> int:
    """How long bytes are that take a piece of the same size: with the collector's head, and without that of bytes."""
    return type(example).__basicsize__ + 16 - sys.getsizeof(b"")


def _nothing() -> None:
    pass
