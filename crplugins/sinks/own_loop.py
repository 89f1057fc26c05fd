"""OwnLoop: an event loop in a thread of its own, which can be ended with all that runs in it."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class OwnLoop:
    """For a client that starts tasks of its own and has no way to be told to give up."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which runs there and is cancelled with the caller."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def end(self) -> None:
        """Cancels everything that runs there. Does not wait for it."""
        self._loop.call_soon_threadsafe(self._ending.set)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # cancels what is left, and closes the loop
            runner.run(self._until_ended())

    async def _until_ended(self) -> None:
        await self._ending.wait()
