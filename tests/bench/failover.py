"""What it costs, when nothing fails, that something may: function calls of a request and of a chunk, and CPU time.

python -m tests.bench.failover        prints the table of crplugins/handlers/README.md, and ratios of CPU time
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from math import ceil
from typing import Any, Final

from crplugins import Gateway
from crplugins.testing import lifespan
from tests.bench.calls import BARE, Deployments, count
from tests.bench.rooms import ask
from tests.bench.served import Served

SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "deadlines and retries": {"first_token_timeout": 5, "stall_timeout": 5, "timeout": 60, "num_retries": 3},
    "`least-busy`": {"routing_strategy": "least-busy"},
    "`latency-based-routing`": {"routing_strategy": "latency-based-routing"},
    "`on_break: restart`": {"on_break": "restart"},
    "`on_break: continue`": {"on_break": "continue"},
}
VARIANTS: Final[Mapping[str, Deployments]] = {
    "one deployment": ({},),
    "two": ({}, {}),
    **{f"two, {name}": (own, own) for name, own in SETTINGS.items()},
}
ROUNDS: Final = 8
REQUESTS: Final = 20
STREAMS: Final = 2
"""In a round; each takes as long as a model takes to say it."""


async def cpu(handler: str) -> Mapping[str, tuple[float, float]]:
    """CPU seconds of a plain request and of a stream, by variant: the least of some rounds, in which each has its turn
    so that whatever else the machine does meets all of them. The provider is a process of its own."""
    least: dict[str, tuple[float, float]] = {}
    with Served("upstream", factory=False) as provider:
        served = {"model": "openai/gpt-4o-mini", "api_base": provider.url, "api_key": "sk-upstream"}
        async with AsyncExitStack() as stack:
            gateways = {}
            for name, deployments in VARIANTS.items():
                models = [
                    {"model_name": "m", "handler": handler, "litellm_params": served, **own} for own in deployments
                ]
                gateway = gateways[name] = Gateway(model_list=models, aliases={"fast": "m"}, **BARE)
                await asyncio.to_thread(gateway.resolve)
                await stack.enter_async_context(lifespan(gateway, within=300))
                await gateway.loaded()
            for _ in range(ROUNDS):
                for name, gateway in gateways.items():
                    took = await _cpu_of(gateway, stream=False), await _cpu_of(gateway, stream=True)
                    known = least.get(name, took)
                    least[name] = min(took[0], known[0]), min(took[1], known[1])
    return least


async def _cpu_of(gateway: Gateway, *, stream: bool) -> float:
    begun, number = time.process_time(), STREAMS if stream else REQUESTS
    for _ in range(number):
        await ask(gateway, stream=stream, trace=None)
    return (time.process_time() - begun) / number


async def table(handler: str) -> list[str]:
    """Function calls of a plain request and of a chunk, by variant."""
    lines = ["| deployments of the name | a request | a chunk |", "|---|---|---|"]
    for name, deployments in VARIANTS.items():
        calls = await count(handler, BARE, deployments)
        lines.append(f"| {name} | {calls.request} | {ceil(calls.chunk)} |")
    return lines


async def main() -> None:
    for handler in ("direct", "litellm"):
        print(f"\n{handler}", *await table(handler), sep="\n", flush=True)
        took = await cpu(handler)
        plain, streamed = took["one deployment"]
        print("\n| CPU time, of that with one deployment | a request | a stream |\n|---|---|---|")
        for name, (one, other) in took.items():
            print(f"| {name} | {one / plain:.2f} | {other / streamed:.2f} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
