"""What the programs in Python have in common: they are given jobs and print, as lines of JSON, what the client made of each.

It imports nothing of ours: the programs run with the client's own packages alone.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Job = dict[str, Any]
"""`key`, `model`, `message`, `tools`."""


def run(version: str, prepare: Callable[[str, str], Callable[[Job], Awaitable[dict[str, Any]]]]) -> None:
    """`prepare` is given the base URL and the key, and returns what reads one answer."""
    asked = json.load(sys.stdin)
    print(json.dumps({"version": version}))

    async def main() -> None:
        read = prepare(asked["base_url"], asked["api_key"])
        for job in asked["jobs"]:
            try:
                seen = await read(job)
            except Exception as error:
                seen = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps({"key": job["key"], **seen}))

    asyncio.run(main())
