"""Waiting for an event of asyncio's, and not for ever; and for the end of a task."""

import asyncio
from contextlib import suppress
from typing import Any


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, and after `seconds` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def stopped(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task, if there is one, and wait until it has ended, however it does."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
