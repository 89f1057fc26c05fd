"""Prints what the parts cost. `python -m tests.bench [section ...]`."""

import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

from tests.bench import in_process, load
from tests.bench import streams as many_streams
from tests.bench.apps import CHUNKS
from tests.bench.ledger import ledger
from tests.bench.metering import metering
from tests.bench.metrics import metrics
from tests.bench.served import Served

ROUNDS = 7


def _cost(server: Served, count: int, *, stream: bool) -> float:
    """CPU seconds per request."""
    before = server.cpu_seconds()
    load.run(server.port, count, stream=stream)
    return (server.cpu_seconds() - before) / count


def compare(
    control: str, subject: str, count: int, *, stream: bool, upstream: bool = False
) -> tuple[float, float, float]:
    """CPU microseconds per request of both, medians over interleaved rounds, and the median of the rounds' ratios."""
    with ExitStack() as stack:
        url = stack.enter_context(Served("upstream", factory=False, cpu=1)).url if upstream else ""
        servers = [stack.enter_context(Served(name, upstream=url)) for name in (control, subject)]
        for server in servers:
            _cost(server, count // 2, stream=stream)
        rounds = [_round(servers, count, stream=stream, swapped=bool(number % 2)) for number in range(ROUNDS)]
    first, second = (statistics.median(costs) * 1e6 for costs in zip(*rounds, strict=True))
    return first, second, statistics.median(b / a for a, b in rounds)


def _round(servers: list[Served], count: int, *, stream: bool, swapped: bool) -> tuple[float, float]:
    if swapped:
        second = _cost(servers[1], count, stream=stream)
        return _cost(servers[0], count, stream=stream), second
    first = _cost(servers[0], count, stream=stream)
    return first, _cost(servers[1], count, stream=stream)


def _line(what: str, control: str, subject: str, count: int, *, stream: bool, upstream: bool = False) -> None:
    a, b, ratio = compare(control, subject, count, stream=stream, upstream=upstream)
    chunk = f"  {(b - a) / CHUNKS:+7.2f} us per chunk" if stream else ""
    print(f"{what:46} {control} {a:9.1f} us  {subject} {b:9.1f} us  ratio {ratio:5.2f}{chunk}", flush=True)


def middleware() -> None:
    _line("PluginMiddleware, no reader, per request", "bare", "no_reader", 4000, stream=False)
    _line("PluginMiddleware, no reader, stream", "bare", "no_reader", 400, stream=True)
    _line("PluginMiddleware, one rewriting plugin, stream", "bare", "rewriter", 400, stream=True)


def direct() -> None:
    for subject, what in (
        ("direct_alone", "direct handler"),
        ("direct", "whole gateway, direct handler"),
        ("metered", "the same with a ledger and metrics"),
    ):
        _line(f"{what}, per request", "proxy", subject, 2000, stream=False, upstream=True)
        _line(f"{what}, paced stream", "proxy", subject, 240, stream=True, upstream=True)


def litellm() -> None:
    _line("litellm handler, per request", "litellm_by_hand", "litellm", 240, stream=False, upstream=True)
    _line("litellm handler, paced stream", "litellm_by_hand", "litellm", 24, stream=True, upstream=True)


def imports() -> None:
    """Time and memory of `import crplugins` beyond a bare interpreter."""
    code = "import resource,time\nt=time.perf_counter()\n{}\nd=time.perf_counter()-t\n"
    code += "print(d*1e3, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)"
    figures = {}
    for statement in ("pass", "import crplugins"):
        runs = [
            subprocess.check_output([sys.executable, "-c", code.format(statement)], text=True) for _ in range(ROUNDS)
        ]
        figures[statement] = [
            statistics.median(column) for column in zip(*(map(float, r.split()) for r in runs), strict=True)
        ]
    (_, base), (milliseconds, memory) = figures.values()
    print(f"{'import crplugins':46} {milliseconds:.1f} ms, {memory - base:.1f} MB above bare Python", flush=True)


def plugins() -> None:
    """In this process: what Auth, RequestGuard and ModelAliases add to a request, and ModelAliases to a chunk."""
    for name, cost in in_process.costs().items():
        print(f"{name:46} {cost:.2f} us", flush=True)


def streams() -> None:
    outcome = many_streams.run(2000)
    size = outcome.bytes_per_stream / 1024
    print(
        f"2000 concurrent streams: {outcome.complete} complete in {outcome.seconds:.1f} s, {size:.1f} KiB each",
        flush=True,
    )


SECTIONS: dict[str, Callable[[], None]] = {
    f.__name__: f for f in (imports, middleware, plugins, metering, metrics, ledger, direct, litellm, streams)
}

if __name__ == "__main__":
    for name in sys.argv[1:] or SECTIONS:
        SECTIONS[name]()
