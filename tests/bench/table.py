"""python -m tests.bench.table: prints the table of README's "What it costs", measured on this machine.

CPU time of a request and of a chunk in units of `litellm.acompletion` called from a plain Starlette app, of the same
rounds. LiteLLM's own proxy is among them where what it imports is installed.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from tests.bench import load
from tests.bench.apps import CHUNKS, governed_settings
from tests.bench.litellm_proxy import ServedProxy
from tests.bench.served import Served, ServedGateway
from tests.proxy_setup import MISSING

ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "5"))
REQUESTS, STREAMS = 500, 24
CONTROL: Final = "litellm_by_hand"
ROWS: Final[Mapping[str, str]] = {
    "proxy": "a proxy written by hand with aiohttp",
    "governed": "crplugins, `direct` handler: key, alias, three limits, ledger, metrics",
    "governed_litellm": "crplugins, `litellm` handler, the same plugins",
    "litellm": "LiteLLM's own proxy",
}


class Cost(NamedTuple):
    """CPU seconds of a request and of a chunk."""

    request: float
    chunk: float


def cost(server: Served) -> Cost:
    request, stream = _cpu(server, REQUESTS, stream=False), _cpu(server, STREAMS, stream=True)
    return Cost(request, (stream - request) / CHUNKS)


def _cpu(server: Served, count: int, *, stream: bool) -> float:
    before = server.cpu_seconds()
    load.run(server.port, count, stream=stream)
    return (server.cpu_seconds() - before) / count


def rounds() -> list[dict[str, Cost]]:
    """The costs of all, several times, in an order that changes."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory()))
        upstream = stack.enter_context(Served("upstream", factory=False, cpu=1)).url
        servers = {name: stack.enter_context(Served(name, upstream=upstream)) for name in (CONTROL, "proxy")}
        for name, handler in (("governed", "direct"), ("governed_litellm", "litellm")):
            (folder := root / name).mkdir()
            gateway = ServedGateway(governed_settings(handler, upstream, str(folder)), folder)
            servers[name] = stack.enter_context(gateway)
        if not MISSING:
            servers["litellm"] = stack.enter_context(ServedProxy("litellm", upstream, root / "proxy"))
        for server in servers.values():
            cost(server)  # what is imported and learnt once
        measured = []
        for number in range(ROUNDS):
            order = list(servers) if number % 2 else list(reversed(servers))
            measured.append({name: cost(servers[name]) for name in order})
        return measured


def in_units(figures: Sequence[float], units: Sequence[float]) -> str:
    """The median of the rounds, and their range."""
    ratios = sorted(figure / unit for figure, unit in zip(figures, units, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def main() -> None:
    measured = rounds()
    units = [one[CONTROL] for one in measured]
    print("| | a request | a chunk |\n|---|--:|--:|")
    for name, what in ROWS.items():
        if name in measured[0]:
            costs = [one[name] for one in measured]
            request = in_units([each.request for each in costs], [unit.request for unit in units])
            chunk = in_units([each.chunk for each in costs], [unit.chunk for unit in units])
            print(f"| {what} | {request} | {chunk} |")


if __name__ == "__main__":
    main()
