"""What Metrics costs a request, and a scrape: `python -m tests.bench.metrics`."""

import timeit
from collections.abc import Callable

from prometheus_client import generate_latest

from crplugins.metering.record import record_of
from crplugins.plugins.metrics.plugin import Metrics
from tests.plugins.metrics.setup import SAMPLED, finished, run


def microseconds(call: Callable[[], object], times: int = 5_000, rounds: int = 9) -> float:
    return min(timeit.repeat(call, number=times, repeat=rounds)) / times * 1e6


def per_request() -> None:
    metrics = Metrics(["m", "gpt-*"], ["team-a"])
    plain, traced = finished(), finished(headers=[(b"traceparent", SAMPLED)])
    matched, unknown = finished("gpt-4o"), finished("nobody's")
    for name, exchange in (("stream", plain), ("sampled", traced), ("pattern", matched), ("unknown", unknown)):
        record_of(exchange)
        print(f"hooks, {name:10} {microseconds(lambda: run(metrics, exchange)):6.2f} us")  # noqa: B023

    def recorded() -> None:
        exchange = finished()
        run(metrics, exchange)

    made = microseconds(finished)
    print(f"hooks and record  {microseconds(recorded) - made:6.2f} us")


def per_scrape() -> None:
    for models in (1, 10, 50):
        metrics = Metrics([f"m{number}" for number in range(models)], [f"k{number}" for number in range(10)])
        text = generate_latest(metrics.exposed())  # type: ignore[arg-type]
        lines, size = text.count(b"\n"), len(text) // 1000
        took = min(timeit.repeat(lambda: generate_latest(metrics.exposed()), number=1, repeat=3)) * 1e3  # noqa: B023
        print(f"scrape of {models:2} models and 10 keys: {lines:6} lines, {size} kB, {took:.0f} ms")


def metrics() -> None:
    per_request()
    per_scrape()
