"""What a registry collects, as the data points that OpenTelemetry's exporters send.

Names, labels and bounds stay as Prometheus scrapes them (OpenTelemetry's specification "Prometheus and OpenMetrics
Compatibility"): a backend that makes Prometheus series of them again finds its suffixes there, and dashboards and rules
fit both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice, pairwise
from types import MappingProxyType
from typing import Any, Final

from prometheus_client.core import Metric as Family
from prometheus_client.core import Sample

try:
    from opentelemetry.sdk.metrics import Exemplar
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Histogram,
        HistogramDataPoint,
        Metric,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
        Sum,
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
except ImportError as error:
    raise ImportError(
        "metrics.otlp needs OpenTelemetry's SDK and exporter; install them with: pip install 'crplugins[otlp]'"
    ) from error

BATCH: Final = 2_000
"""Data points of one message: a few hundred kilobytes, and few enough objects to make at once."""

_SECOND: Final = 1_000_000_000
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE

UNITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "seconds": "s", "bytes": "By", "ratio": "1", "usd": "{USD}", "tokens": "{token}",
        "requests": "{request}", "refusals": "{request}", "attempts": "{attempt}", "errors": "{error}",
        "fallbacks": "{fallback}", "rescues": "{rescue}", "events": "{event}", "records": "{record}",
        "messages": "{message}", "deliveries": "{delivery}", "pushes": "{push}", "answers": "{answer}",
        "cooldowns": "{cooldown}", "deployments": "{process}", "overflow": "{request}",
    }
)  # fmt: skip
"""The unit (UCUM) of a metric, by the last word of its name that is one. The rest has none: flags and information."""


@dataclass(frozen=True, slots=True)
class MetricsSource:
    """Of whom the numbers are.

    Attributes:
        resource: who counts.
        scope: the name and version of the library that does.
        started: since when, in nanoseconds since 1970. Counters and histograms began with 0 then.
    """

    resource: Resource
    scope: InstrumentationScope
    started: int


def unit_of(name: str) -> str:
    return next((UNITS[word] for word in reversed(name.split("_")) if word in UNITS), "")


def messages(families: Iterable[Family], source: MetricsSource, now: int, size: int = BATCH) -> Iterator[MetricsData]:
    """All samples as data points of the time `now`, at most `size` of them in a message.

    Each message is made when it is asked for, so that the points of a large registry are never there all at once.
    """
    batch: list[Metric] = []
    room = size
    for metric_of, points in _metrics(families, source.started, now):
        while some := [*islice(points, room)]:
            batch.append(metric_of(some))
            room -= len(some)
            if not room:
                yield _message(batch, source)
                batch, room = [], size
    if batch:
        yield _message(batch, source)


def _message(metrics: Sequence[Metric], source: MetricsSource) -> MetricsData:
    scope = ScopeMetrics(scope=source.scope, metrics=metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource=source.resource, scope_metrics=[scope], schema_url="")])


def _metrics(
    families: Iterable[Family], started: int, now: int
) -> Iterator[tuple[Callable[[list[Any]], Metric], Iterator[Any]]]:
    """How a metric is made of some of its points, and the points."""
    for family in families:
        if family.type == "histogram":
            metric_of = partial(_histogram, family.name, family.documentation)
            yield metric_of, (each.point(started, now) for each in _distributions(family.samples))
            continue
        for name, samples in groupby(family.samples, lambda sample: sample.name):
            counts = family.type == "counter" or (family.type == "summary" and name != family.name)
            metric_of = partial(_sum if counts else _gauge, name, family.documentation)
            yield metric_of, (_number(sample, started, now) for sample in samples)


def _histogram(name: str, help_: str, points: list[HistogramDataPoint]) -> Metric:
    return Metric(name, help_, unit_of(name), Histogram(points, _CUMULATIVE))


def _sum(name: str, help_: str, points: list[NumberDataPoint]) -> Metric:
    return Metric(name, help_, unit_of(name), Sum(points, _CUMULATIVE, is_monotonic=True))


def _gauge(name: str, help_: str, points: list[NumberDataPoint]) -> Metric:
    return Metric(name, help_, unit_of(name), Gauge(points))


def _number(sample: Sample, started: int, now: int) -> NumberDataPoint:
    return NumberDataPoint(dict(sample.labels), started, now, float(sample.value), _exemplars(sample))


@dataclass(slots=True)
class _Distribution:
    """One series of a histogram. `below` has, by bound, how many values are not above it."""

    labels: dict[str, str]
    below: dict[float, float] = field(default_factory=dict)
    sum: float = 0.0
    exemplars: list[Exemplar] = field(default_factory=list)

    def point(self, started: int, now: int) -> HistogramDataPoint:
        bounds = sorted(self.below)
        totals = [int(self.below[bound]) for bound in bounds]
        return HistogramDataPoint(
            attributes=self.labels,
            start_time_unix_nano=started,
            time_unix_nano=now,
            count=totals[-1],
            sum=self.sum,
            bucket_counts=[after - before for before, after in pairwise([0, *totals])],
            explicit_bounds=bounds[:-1],  # after the last comes +Inf
            min=None,  # type: ignore[arg-type]  # nobody has kept it; the encoders then leave it out
            max=None,  # type: ignore[arg-type]
            exemplars=self.exemplars,
        )


def _distributions(samples: Iterable[Sample]) -> Iterator[_Distribution]:
    series: dict[tuple[tuple[str, str], ...], _Distribution] = {}
    for sample in samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        key = tuple(labels.items())
        each = series.get(key) or series.setdefault(key, _Distribution(labels))
        if sample.name.endswith("_bucket"):
            each.below[float(sample.labels["le"])] = sample.value
            each.exemplars += _exemplars(sample)
        elif sample.name.endswith("_sum"):
            each.sum = sample.value
    yield from series.values()


def _exemplars(sample: Sample) -> list[Exemplar]:
    found = sample.exemplar
    if found is None:
        return []
    others = {name: value for name, value in found.labels.items() if name != "trace_id"}
    trace = int(found.labels["trace_id"], 16) if "trace_id" in found.labels else None
    # Encoders take no trace without a span. A span id of zeros is none, for who reads it.
    span = None if trace is None else 0
    return [Exemplar(others, found.value, round(float(found.timestamp or 0) * _SECOND), span, trace)]
