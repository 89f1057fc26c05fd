"""What each of several processes does whose requests wait for one limit: `python -m tests.limits.queue_processes URL KEYS`.

`KEYS` is a JSON object of a weight for each key. Says when it is ready, begins when it is told, and says as JSON what was
admitted: key, tokens and time of each request that had waited.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping

from crplugins.core.principal import Queue
from crplugins.limits.limit import Charge
from crplugins.limits.opening import open_limit_store
from tests.limits.queue_setup import Desk, meter

SECONDS = 5.0
CLIENTS = 8
SIZES = (40, 120, 65)
LIMIT = meter(240_000, burst=5 * max(SIZES))
PATIENCE = Queue(60, 1000)


async def load(desk: Desk, keys: Mapping[str, float]) -> list[tuple[str, int, float, bool]]:
    admitted: list[tuple[str, int, float, bool]] = []
    end = time.time() + SECONDS

    async def client(key: str, weight: float, number: int) -> None:
        while time.time() < end:
            number += 1
            size = SIZES[number % len(SIZES)]
            request, decision = await desk.ask(Charge(LIMIT, size), key=key, weight=weight, queue=PATIENCE)
            if decision.refused is None and time.time() < end:
                admitted.append((key, size, time.time(), request.wait is not None))
            desk.settle(request, size)

    clients = [client(key, weight, n) for key, weight in keys.items() for n in range(CLIENTS)]
    tasks = [asyncio.ensure_future(each) for each in clients]
    await asyncio.sleep(SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return admitted


async def main(url: str, name: str, keys: str) -> None:
    desk = Desk(open_limit_store(url), name=name)
    async with desk.reservations:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await load(desk, json.loads(keys))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
