"""An event loop whose clock jumps to the next timer when nothing else is to be done: half a minute takes no time."""

import asyncio
from collections.abc import Coroutine
from selectors import DefaultSelector
from typing import Any, Final, TypeVar

T = TypeVar("T")

START: Final = 1_767_225_600_000
"""The wall clock at the start, in milliseconds since 1970."""


class _Jumps(DefaultSelector):
    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if self._loop.threads:
            return super().select(timeout if timeout == 0 else 5)
        if timeout is None:
            raise RuntimeError("everything waits, and no timer is set: a wake-up is lost")
        self._loop.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while a thread works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.threads = 0
        super().__init__(_Jumps(self))

    def time(self) -> float:
        return self.now

    def milliseconds(self) -> int:
        return START + int(self.now * 1000 + 1e-6)

    def timers(self) -> int:
        """How many timers are set that were not cancelled."""
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        return sum(not handle.cancelled() for handle in scheduled)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        working = super().run_in_executor(executor, func, *args)
        self.threads += 1
        working.add_done_callback(self._thread_done)
        return working

    def _thread_done(self, _done: Any) -> None:
        self.threads -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # the base's
        """Its threads are idle."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def clock() -> int:
    """The wall clock of the running virtual loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.milliseconds()
