"""Tasks that whoever owns something runs beside it, and ends with it."""

import asyncio
from typing import Any


async def stopped(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task, if there is one, and wait until it has ended, however it does."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
