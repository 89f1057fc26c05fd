"""Finished requests as the pipeline leaves them, and what a registry says of them."""

import time
from collections.abc import Iterable
from typing import Any

from crplugins.core.exchange import Exchange, Timings
from crplugins.core.outcome import OUTCOMES
from crplugins.core.principal import Principal
from crplugins.core.usage import Price, TokenUsage
from crplugins.plugins.metrics.plugin import Metrics

SAMPLED = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def finished(model: str | None = "m", key_id: str | None = "team-a", **facts: Any) -> Exchange:
    """A stream of half a second; `facts` are fields of the Exchange, `headers` included."""
    timings = Timings(
        100.0, app=100.001, response=100.2, first_token=100.3, last_token=100.5, longest_gap=0.15, ended=100.501
    )
    exchange = Exchange("r", "POST", "/v1/chat/completions", [], None, time.monotonic, timings)
    exchange.principal = None if key_id is None else Principal(key_id)
    exchange.requested_model, exchange.stream, exchange.status = model, True, 200
    exchange.counted(TokenUsage(900, 60, 512, 7, 20), "provider")
    exchange.price = Price(150_000, 600_000)
    attempt = exchange.begin_attempt("openai")
    attempt.started, attempt.ended = 100.002, 100.5
    for name, value in facts.items():
        setattr(exchange, name, value)
    exchange.outcome = OUTCOMES[exchange.error_type]
    return exchange


def run(metrics: Metrics, exchange: Exchange) -> None:
    """Both hooks of a request."""
    metrics.on_request(exchange)
    metrics.on_finish(exchange)


def samples(metrics: Metrics, names: Iterable[str] = ()) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.exposed(names).collect()
        for sample in family.samples
    }


def changes(metrics: Metrics, before: Samples) -> dict[str, float]:
    """What is no longer as it was, written as PromQL selects it."""
    now = samples(metrics)
    return {
        _written(name, labels): value - before.get((name, labels), 0)
        for (name, labels), value in now.items()
        if name.startswith("crplugins_") and value != before.get((name, labels), 0)
    }


def _written(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in labels)
    return f"{name}{{{inside}}}" if inside else name


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    if name.startswith(("requests_total", "request_duration_seconds")):
        labels = {"endpoint": "chat", **labels}
    return samples(metrics).get((f"crplugins_{name}", tuple(sorted(labels.items()))))
