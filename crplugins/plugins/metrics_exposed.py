"""What a scrape sees of a registry."""

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric


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
            created = metric.name + "_created"
            if any(sample.name == created for sample in metric.samples):
                metric = _without(metric, created)
            yield metric


def _without(metric: Metric, name: str) -> Metric:
    """A copy, because a collector may keep what it gives."""
    kept = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    kept.samples = [sample for sample in metric.samples if sample.name != name]
    return kept


def restricted(registry: CollectorRegistry, names: Iterable[str]) -> Collector:
    """The samples of these names; all of them where none is given."""
    chosen = list(names)
    return registry.restricted_registry(chosen) if chosen else registry
