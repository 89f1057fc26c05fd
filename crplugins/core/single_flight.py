"""SingleFlight: many who want the same thing at once cause one piece of work."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One running task per key. It does not end with the caller that started it: others wait for it."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}
        self._all: set[asyncio.Task[T]] = set()

    def start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The task for `key`: the one that runs, else a new one."""
        task = self._running.get(key)
        if task is None or task.done():  # its callback may not have run yet
            task = self._running[key] = asyncio.create_task(work())
            self._all.add(task)
            task.add_done_callback(lambda done: self._done(key, done))
        return task

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await asyncio.shield(self.start(key, work))

    async def joined(self, key: Hashable) -> T | None:
        """What the task for `key` gives, if one runs."""
        task = self._running.get(key)
        return None if task is None else await asyncio.shield(task)

    def forget(self) -> None:
        """Let nobody join the work that runs now."""
        self._running.clear()

    async def close(self) -> None:
        for task in self._all:
            task.cancel()
        await asyncio.gather(*self._all, return_exceptions=True)

    def _done(self, key: Hashable, task: asyncio.Task[T]) -> None:
        self._all.discard(task)
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen: whoever waited got it, and nobody may have waited
