"""in_daemon_thread: a call that blocks, in a thread which the end of the process does not wait for."""

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_daemon_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `call(...)`. As `asyncio.to_thread`, for what takes seconds and leaves nothing half done.

    The threads of `to_thread` are waited for when a process ends, and it would not end on Ctrl-C before an import has.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = call(*args, **kwargs)
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:  # the loop has been closed: nobody waits
            return

    threading.Thread(target=run, name=f"crplugins-{getattr(call, '__name__', 'call')}", daemon=True).start()
    return await done
