"""litellm's worker: the task behind the loop in which litellm tells its callbacks of finished calls.

Each call leaves a coroutine in its queue, `no-log` ones too. What is still queued when the loop ends is lost, with a
RuntimeWarning for each, or carried into the next loop, as the release has it.
"""

import asyncio
import sys
from contextlib import suppress
from typing import Final

_PATIENCE_SECONDS: Final = 2.0


async def settle() -> None:
    """Let the worker finish what it has been given. A callback that hangs is not waited for longer than 2 s."""
    module = sys.modules.get("litellm.litellm_core_utils.logging_worker")
    flush = getattr(getattr(module, "GLOBAL_LOGGING_WORKER", None), "flush", None)
    if flush is None:
        return
    with suppress(Exception):  # TimeoutError; RuntimeError where the queue belongs to a loop that has ended
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await asyncio.sleep(0)  # the task that gives the worker the last call may not have begun
            await flush()
