"""Stage: an event loop in a thread, where servers run while tests that wait for answers stand outside."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.conftest import serving

T = TypeVar("T")


class Stage:
    """`with Stage() as stage:`; whatever was entered is left in reverse order at the end."""

    def __init__(self) -> None:
        self._running: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._open = AsyncExitStack()

    async def _run(self) -> None:
        self._over = asyncio.Event()
        self._running.set_result(asyncio.get_running_loop())
        await self._over.wait()
        await self._open.aclose()

    def run(self, work: Coroutine[Any, Any, T], within: float = 60.0) -> T:
        """The result of `work`, done in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._running.result()).result(within)

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Begins `work` in the loop, and waits for nothing."""
        asyncio.run_coroutine_threadsafe(work, self._running.result())

    def enter(self, manager: AbstractAsyncContextManager[T]) -> T:
        return self.run(self._open.enter_async_context(manager))

    def serve(self, app: Any) -> str:
        """The URL of `app` on a real socket."""
        return self.enter(serving(app))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.result().call_soon_threadsafe(self._over.set)
        self._thread.join()
