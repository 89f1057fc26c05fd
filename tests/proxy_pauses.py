"""LiteLLM's pauses between retries, half a second to eight, would add up to minutes.

From 1.110 on they are compiled in; before that `INITIAL_RETRY_DELAY` and `MAX_RETRY_DELAY` are read.
"""

import asyncio
import contextlib

with contextlib.suppress(ImportError):
    from litellm.router_python_host import PythonHost

    PythonHost.sleep = lambda _self, seconds: asyncio.sleep(seconds / 1000)
