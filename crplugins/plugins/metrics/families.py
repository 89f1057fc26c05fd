"""Families: the metrics of the table, and how they are read by a scrape.

Their values are in the memory of this process, as `memory.py` keeps them; or in files that several processes share, as
prometheus_client does.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from crplugins.plugins.metrics import table
from crplugins.plugins.metrics.directory import shared_directory
from crplugins.plugins.metrics.memory import Distribution, MemoryFamily, Sampled, Value
from crplugins.plugins.metrics.table import Spec

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric, Sample


class Adds(Protocol):
    """The series of a counter."""

    def inc(self, amount: float = 1) -> None: ...


class Moves(Adds, Protocol):
    """That of a gauge."""

    def dec(self, amount: float = 1) -> None: ...

    def set(self, value: float) -> None: ...


class Observes(Protocol):
    """That of a histogram."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None: ...


T = TypeVar("T")
M = TypeVar("M", bound=Sampled)
S_co = TypeVar("S_co", covariant=True)


class Labelled(Protocol[S_co]):
    """A metric with labels, of memory or of prometheus_client."""

    def labels(self, *values: str) -> S_co: ...


Counter = Labelled[Adds]
Gauge = Labelled[Moves]
Histogram = Labelled[Observes]


class Collector(Protocol):
    """Anything from which prometheus_client's encoders and registries read metrics."""

    def collect(self) -> "Iterable[Metric]": ...


class Registry:
    """The registry from which the metrics are read: that of `given`, or one that is made when it is asked for.

    prometheus_client, which is not imported before, takes 17 ms and a megabyte, and many gateways begin to serve long
    before they are scraped. It is asked for in the thread of the scrape, while the event loop may still register.
    """

    def __init__(self, given: "CollectorRegistry | None") -> None:
        self._registry = given
        self._waiting: list[Collector] = []
        self._making = Lock()

    def register(self, collector: Collector) -> None:
        """Raises ValueError if one that was given has one of the names already."""
        with self._making:
            if self._registry is None:
                self._waiting.append(collector)
            else:
                self._registry.register(collector)

    def made(self) -> "CollectorRegistry":
        """In a thread: the first call imports, and reads files."""
        fresh = _fresh_registry() if self._registry is None else self._registry
        with self._making:
            if self._registry is None:
                self._registry = fresh
                for collector in self._waiting:
                    fresh.register(collector)
                self._waiting.clear()
            return self._registry


class Families:
    """One object per metric that requests write. The metrics without labels are their only series.

    Raises ValueError if a registry that was given has one of the names already.
    """

    def __init__(self, registry: Registry, *, inter_chunk: bool) -> None:
        self._registry = registry
        self._shared = shared_directory() is not None
        self.requests: Final = self.counter(table.REQUESTS)
        self.duration: Final = self._histogram(table.DURATION)
        self.ttft: Final = self._histogram(table.TTFT)
        self.tpot: Final = self._histogram(table.TPOT)
        self.max_gap: Final = self._histogram(table.MAX_GAP)
        self.inter_chunk: Final = self._histogram(table.INTER_CHUNK) if inter_chunk else None
        self.in_flight: Final[Moves] = self.series(self.gauge(table.IN_FLIGHT))
        self.overhead: Final[Observes] = self.series(self._histogram(table.OVERHEAD))
        self.input_tokens: Final = self.counter(table.INPUT_TOKENS)
        self.output_tokens: Final = self.counter(table.OUTPUT_TOKENS)
        self.cached_tokens: Final = self.counter(table.CACHED_TOKENS)
        self.written_tokens: Final = self.counter(table.WRITTEN_TOKENS)
        self.reasoning_tokens: Final = self.counter(table.REASONING_TOKENS)
        self.cost: Final = self.counter(table.COST)
        self.cache_answers: Final = self.counter(table.CACHE_ANSWERS)
        self.cache_input_tokens: Final = self.counter(table.CACHE_INPUT_TOKENS)
        self.cache_output_tokens: Final = self.counter(table.CACHE_OUTPUT_TOKENS)
        self.by_key: Final = (
            self.input_tokens, self.output_tokens, self.cached_tokens, self.written_tokens, self.reasoning_tokens,
            self.cost,
        )  # fmt: skip
        """Those that each model and key has from the start."""
        self.unmetered: Final = self.counter(table.UNMETERED)
        self.input_size: Final = self._histogram(table.INPUT_SIZE)
        self.output_size: Final = self._histogram(table.OUTPUT_SIZE)
        self.attempts: Final = self.counter(table.ATTEMPTS)
        self.fallbacks: Final = self.counter(table.FALLBACKS)
        self.rescues: Final = self.counter(table.RESCUES)
        self.left_out: Final = self.counter(table.LEFT_OUT)
        self.upstream_duration: Final = self._histogram(table.UPSTREAM_DURATION)
        self.queued: Final = self.counter(table.QUEUED)
        self.queue_wait: Final = self._histogram(table.QUEUE_WAIT)
        self.overflow: Final = self.counter(table.OVERFLOW)
        self.pushes: Final = self.counter(table.PUSHES)
        self.build_info: Final = self.gauge(table.BUILD_INFO)

    def series(self, family: Labelled[T], *labels: str) -> T:
        """That of `labels`; of a metric without any the only one, which for prometheus_client is the metric itself."""
        return cast("T", family) if self._shared and not labels else family.labels(*labels)

    def remove(self, family: Counter, *labels: str) -> None:
        """The series of `labels`, if there is one. One in files that processes share cannot be: it is hidden."""
        if not self._shared:
            cast("MemoryFamily[Value]", family).remove(*labels)

    def counter(self, spec: Spec) -> Counter:
        if self._shared:
            from prometheus_client import Counter as SharedCounter

            return SharedCounter(spec.name, spec.help, spec.labels, registry=self._registry.made())
        return self._registered(MemoryFamily(spec, Value))

    def gauge(self, spec: Spec) -> Gauge:
        if self._shared:
            from prometheus_client import Gauge as SharedGauge

            registry = self._registry.made()
            return SharedGauge(spec.name, spec.help, spec.labels, registry=registry, multiprocess_mode=spec.mode)
        return self._registered(MemoryFamily(spec, Value))

    def _histogram(self, spec: Spec) -> Histogram:
        if self._shared:
            from prometheus_client import Histogram as SharedHistogram

            registry = self._registry.made()
            return SharedHistogram(spec.name, spec.help, spec.labels, registry=registry, buckets=spec.buckets)
        return self._registered(MemoryFamily(spec, partial(Distribution, spec.buckets)))

    def _registered(self, family: MemoryFamily[M]) -> MemoryFamily[M]:
        self._registry.register(family)
        return family


def _fresh_registry() -> "CollectorRegistry":
    """A new registry, so that two gateways can run in one process, with the metrics of the process in it."""
    from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

    registry = CollectorRegistry(support_collectors_without_names=True)  # else `name[]` would not find theirs
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    return registry


def restricted(registry: "CollectorRegistry", names: Iterable[str]) -> Collector:
    """The samples of these names; all of them if none is given."""
    chosen = list(names)
    return registry.restricted_registry(chosen) if chosen else registry


class WithoutCreated:
    """A registry without its `_created` samples: a fifth of a scrape, and no dashboard needs them.

    prometheus_client can only leave them out for the whole process, which a library must not decide.
    """

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> "Iterable[Metric]":
        from prometheus_client.core import Metric

        for metric in self._registry.collect():
            kept = Metric(metric.name, metric.documentation, metric.type, metric.unit)  # a collector may keep its own
            kept.samples = _AllBut(metric.name + "_created", metric.samples)  # type: ignore[assignment]
            yield kept


class _AllBut:
    """The samples that are not called `name`, one by one: see `MemoryFamily`."""

    def __init__(self, name: str, samples: "Iterable[Sample]") -> None:
        self._name = name
        self._samples = samples

    def __iter__(self) -> "Iterator[Sample]":
        return (sample for sample in self._samples if sample.name != self._name)
