"""What a scrape sees of a registry."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric, Sample


class Collector(Protocol):
    """Whatever prometheus_client's encoders and registries read metrics from."""

    def collect(self) -> Iterable[Metric]: ...


class WithoutCreated:
    """A registry without its `_created` samples: a fifth of a scrape, and nobody's question.

    prometheus_client can only leave them out for a whole process, which is not a library's to decide.
    """

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            kept = Metric(metric.name, metric.documentation, metric.type, metric.unit)  # a collector may keep its own
            kept.samples = _AllBut(metric.name + "_created", metric.samples)  # type: ignore[assignment]
            yield kept


class _AllBut:
    """The samples that are not called `name`, one by one: see `Lazy` in `metrics_families.py`."""

    def __init__(self, name: str, samples: Iterable[Sample]) -> None:
        self._name = name
        self._samples = samples

    def __iter__(self) -> Iterator[Sample]:
        return (sample for sample in self._samples if sample.name != self._name)


def restricted(registry: CollectorRegistry, names: Iterable[str]) -> Collector:
    """The samples of these names; all of them where none is given."""
    chosen = list(names)
    return registry.restricted_registry(chosen) if chosen else registry
