"""Families: the metrics of the table as prometheus_client's objects, registered in one registry and scraped from it."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from prometheus_client import Counter as EagerCounter
from prometheus_client import Gauge as EagerGauge
from prometheus_client import Histogram as EagerHistogram
from prometheus_client.core import Metric, Sample
from prometheus_client.metrics import MetricWrapperBase

from crplugins.plugins.metrics import table
from crplugins.plugins.metrics.table import Spec


class Families:
    """One object per metric that requests write.

    Raises ValueError if the registry has one of the names already.
    """

    def __init__(self, registry: CollectorRegistry, *, inter_chunk: bool) -> None:
        self._registry = registry
        self.requests: Final = self.counter(table.REQUESTS)
        self.duration: Final = self._histogram(table.DURATION)
        self.ttft: Final = self._histogram(table.TTFT)
        self.tpot: Final = self._histogram(table.TPOT)
        self.max_gap: Final = self._histogram(table.MAX_GAP)
        self.inter_chunk: Final = self._histogram(table.INTER_CHUNK) if inter_chunk else None
        self.in_flight: Final = self.gauge(table.IN_FLIGHT)
        self.overhead: Final = self._histogram(table.OVERHEAD)
        self.input_tokens: Final = self.counter(table.INPUT_TOKENS)
        self.output_tokens: Final = self.counter(table.OUTPUT_TOKENS)
        self.cached_tokens: Final = self.counter(table.CACHED_TOKENS)
        self.written_tokens: Final = self.counter(table.WRITTEN_TOKENS)
        self.reasoning_tokens: Final = self.counter(table.REASONING_TOKENS)
        self.cost: Final = self.counter(table.COST)
        self.cache_answers: Final = self.counter(table.CACHE_ANSWERS)
        self.cache_input_tokens: Final = self.counter(table.CACHE_INPUT_TOKENS)
        self.cache_output_tokens: Final = self.counter(table.CACHE_OUTPUT_TOKENS)
        self.unmetered: Final = self.counter(table.UNMETERED)
        self.input_size: Final = self._histogram(table.INPUT_SIZE)
        self.output_size: Final = self._histogram(table.OUTPUT_SIZE)
        self.attempts: Final = self.counter(table.ATTEMPTS)
        self.upstream_duration: Final = self._histogram(table.UPSTREAM_DURATION)
        self.overflow: Final = self.counter(table.OVERFLOW)
        self.build_info: Final = self.gauge(table.BUILD_INFO)

    def counter(self, spec: Spec) -> "Counter":
        return Counter(spec.name, spec.help, spec.labels, registry=self._registry)

    def gauge(self, spec: Spec) -> "Gauge":
        return Gauge(spec.name, spec.help, spec.labels, registry=self._registry, multiprocess_mode=spec.mode)

    def _histogram(self, spec: Spec) -> "Histogram":
        return Histogram(spec.name, spec.help, spec.labels, registry=self._registry, buckets=spec.buckets)


def fresh_registry() -> CollectorRegistry:
    """A new registry, so that two gateways can run in one process, with the metrics of the process in it.

    The collectors are prometheus_client's own instances: a new one would read files, which must not happen on an event
    loop.
    """
    registry = CollectorRegistry(support_collectors_without_names=True)  # else `name[]` would not find theirs
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry


class Collector(Protocol):
    """Anything from which prometheus_client's encoders and registries read metrics."""

    def collect(self) -> Iterable[Metric]: ...


def restricted(registry: CollectorRegistry, names: Iterable[str]) -> Collector:
    """The samples of these names; all of them if none is given."""
    chosen = list(names)
    return registry.restricted_registry(chosen) if chosen else registry


class WithoutCreated:
    """A registry without its `_created` samples: a fifth of a scrape, and no dashboard needs them.

    prometheus_client can only leave them out for the whole process, which a library must not decide.
    """

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            kept = Metric(metric.name, metric.documentation, metric.type, metric.unit)  # a collector may keep its own
            kept.samples = _AllBut(metric.name + "_created", metric.samples)  # type: ignore[assignment]
            yield kept


class _AllBut:
    """The samples that are not called `name`, one by one: see `Lazy`."""

    def __init__(self, name: str, samples: Iterable[Sample]) -> None:
        self._name = name
        self._samples = samples

    def __iter__(self) -> Iterator[Sample]:
        return (sample for sample in self._samples if sample.name != self._name)


class Lazy(MetricWrapperBase):
    """Makes its samples one by one, as they are written into a scrape, and no `_created` ones.

    A list would create a hundred thousand objects at once, for which the garbage collector goes through all objects of
    the process: with litellm a third of a second, in which everything stops.
    """

    def collect(self) -> Iterable[Metric]:
        (metric,) = self.describe()
        metric.samples = _Samples(self, metric.name)  # type: ignore[assignment]  # the encoders only go through them
        return [metric]

    def samples(self, name: str) -> Iterator[Sample]:
        for sample in self._samples():
            if sample.name != "_created":
                yield Sample(name + sample.name, *sample[1:])


class _Samples:
    """The samples of a metric, made again for each iteration."""

    def __init__(self, metric: Lazy, name: str) -> None:
        self._metric = metric
        self._name = name

    def __iter__(self) -> Iterator[Sample]:
        return self._metric.samples(self._name)


class Counter(Lazy, EagerCounter):
    pass


class Gauge(Lazy, EagerGauge):
    pass


class Histogram(Lazy, EagerHistogram):
    """Finds its bucket by bisection: a third cheaper than a linear search, and a request observes ten.

    After the last of `buckets` comes the `+Inf` bucket, which prometheus_client adds.
    """

    def __init__(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), *, buckets: Sequence[float], **more: Any
    ) -> None:
        super().__init__(name, documentation, labelnames, buckets=buckets, **more)
        self.bounds: Final = buckets

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        if exemplar is not None:
            super().observe(amount, exemplar)
            return
        self._sum.inc(amount)
        self._buckets[bisect_left(self.bounds, amount)].inc(1)
