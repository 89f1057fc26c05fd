"""What it costs, when nothing fails, that something may: function calls of a request and of a chunk.

python -m tests.bench.failover        prints the table of crplugins/handlers/README.md
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from tests.bench.calls import BARE, Deployments, count

SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "deadlines": {"first_token_timeout": 5, "stall_timeout": 5, "timeout": 60},
    "retries": {"num_retries": 3, "cooldown_time": 5},
    "weights": {"weight": 2},
    "`on_break: restart`": {"on_break": "restart"},
    "`on_break: continue`": {"on_break": "continue"},
}
VARIANTS: Final[Mapping[str, Deployments]] = {
    "one deployment": ({},),
    "two deployments": ({}, {}),
    **{f"two, {name}": (own, own) for name, own in SETTINGS.items()},
    "two, in order": ({"order": 1}, {"order": 2}),
}


async def main() -> None:
    for handler in ("direct", "litellm"):
        print(f"\n| {handler} | a request | a chunk |\n|---|---|---|")
        for name, deployments in VARIANTS.items():
            calls = await count(handler, BARE, deployments)
            print(f"| {name} | {calls.request} | {calls.chunk:.1f} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
