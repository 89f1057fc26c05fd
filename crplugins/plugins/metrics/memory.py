"""Series in the memory of one process: a number for each, which a request adds to without a lock.

Each write is a read and an assignment between which the interpreter runs nobody else, so that none is lost, also where
several threads write. prometheus_client's own take a lock for each, and 0.3 ms to make the series of one histogram.

prometheus_client is imported by the first scrape: it takes time and memory that a start can do without.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

from crplugins.plugins.metrics.table import Spec

if TYPE_CHECKING:
    from prometheus_client.core import Metric, Sample

Observation = tuple[dict[str, str], float, float]
"""The labels of an exemplar, what was observed, and when: seconds since 1970."""


class SeriesSample(NamedTuple):
    """A number of a series: the end of its name, and of a bucket the bound and an exemplar."""

    suffix: str
    value: float
    bound: float | None = None
    exemplar: Observation | None = None


class Value:
    """One counter or gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        self.value -= amount

    def set(self, value: float) -> None:
        self.value = value

    def samples(self) -> Iterator[SeriesSample]:
        yield SeriesSample("", self.value)


class Distribution:
    """One histogram. After the last of `bounds` comes the bucket `+Inf`."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: dict[int, Observation] = {}
        self.sum = 0.0

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        bucket = bisect_left(self.bounds, amount)
        self.counts[bucket] += 1
        self.sum += amount
        if exemplar is not None:
            self.exemplars[bucket] = (exemplar, amount, time.time())

    def samples(self) -> Iterator[SeriesSample]:
        totals = [*accumulate(self.counts)]
        for bucket, bound in enumerate((*self.bounds, float("inf"))):
            yield SeriesSample("_bucket", float(totals[bucket]), bound, self.exemplars.get(bucket))
        yield SeriesSample("_count", float(totals[-1]))
        yield SeriesSample("_sum", self.sum)


class Sampled(Protocol):
    def samples(self) -> Iterator[SeriesSample]:
        """Its numbers as they stand."""


S = TypeVar("S", bound=Sampled)


class MemoryFamily(Generic[S]):
    """One metric of the table, with a series for each combination of label values that was asked for.

    A collector of prometheus_client's. Its samples are made one by one, as they are written into a scrape: a list of
    all would be a hundred thousand objects at once, for which the garbage collector goes through all objects of the
    process, with litellm for a third of a second in which everything stops.
    """

    def __init__(self, spec: Spec, make: Callable[[], S]) -> None:
        self.spec: Final = spec
        self._make = make
        self._series: dict[tuple[str, ...], S] = {}

    def labels(self, *values: str) -> S:
        """The series of these label values, made when it is asked for first."""
        series = self._series.get(values)
        if series is None:
            if len(values) != len(self.spec.labels):
                raise ValueError(f"{self.spec.name} has the labels {', '.join(self.spec.labels)}")
            series = self._series[values] = self._make()
        return series

    def remove(self, *values: str) -> None:
        """Show this series no more. Asked for again, it begins anew with 0."""
        self._series.pop(values, None)

    def describe(self) -> "list[Metric]":
        """Its name, which a registry has once."""
        from prometheus_client.core import Metric

        return [Metric(self._name, self.spec.help, self.spec.kind)]

    def collect(self) -> "Iterable[Metric]":
        (metric,) = self.describe()
        metric.samples = self  # type: ignore[assignment]  # the encoders only go through them
        return [metric]

    def __iter__(self) -> "Iterator[Sample]":
        from prometheus_client.core import Exemplar, Sample
        from prometheus_client.utils import floatToGoString

        name = self.spec.name
        for values, series in self._series.copy().items():  # the event loop may add to it meanwhile
            labels = dict(zip(self.spec.labels, values, strict=True))
            for suffix, value, bound, seen in series.samples():
                within = labels if bound is None else {**labels, "le": floatToGoString(bound)}  # type: ignore[no-untyped-call]
                yield Sample(name + suffix, within, value, None, None if seen is None else Exemplar(*seen))

    @property
    def _name(self) -> str:
        return self.spec.name.removesuffix("_total")
