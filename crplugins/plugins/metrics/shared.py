"""SharedValues: the files in which the worker processes of one server share their metrics.

The numbers of `ObservedState` are read at each scrape while one process counts alone. With several processes a `Mirror`
copies them into the files once a second, because another process may be scraped.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from crplugins.core.outcome import HEALTH_STATES
from crplugins.core.principal import PRIORITIES, Priority
from crplugins.core.waiting import stopped
from crplugins.plugins.metrics.deployments import DeploymentStatus
from crplugins.plugins.metrics.directory import leave, shared_directory, sweep
from crplugins.plugins.metrics.families import Collector, Counter, Families, Gauge
from crplugins.plugins.metrics.hidden_keys import without_hidden
from crplugins.plugins.metrics.table import (
    COOLDOWNS,
    DEPLOYMENT_RUNNING,
    DEPLOYMENTS,
    HOOK_ERRORS,
    LEDGER_DROPPED,
    LEDGER_PENDING,
    LEDGER_SPOOLED,
    MAX_IN_FLIGHT,
    QUEUE_WAITING,
    RELOAD_SUCCESS_TIME,
    RELOAD_SUCCESSFUL,
    SHED,
    SINK_DROPPED,
    SINK_PENDING,
    SINK_PUBLISHED,
    SINK_SPOOLED,
    WEBHOOKS,
    WEBHOOKS_PENDING,
    Spec,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

Values = (
    Mapping[tuple[str, str, str], float]
    | Mapping[tuple[str, str], float]
    | Mapping[tuple[str], float]
    | Mapping[tuple[()], float]
)
"""Values by label values."""

Counted = dict[Spec, dict[tuple[str, ...], float]]
"""The values of counters."""


@runtime_checkable
class LedgerState(Protocol):
    """Numbers of records, cheap to read at any time."""

    @property
    def pending(self) -> int:
        """In memory and in the journal, not yet committed to database or spool."""

    @property
    def spooled(self) -> int:
        """In the spool, to be written to the database. Processes that share a spool all report the whole of it."""

    @property
    def dropped(self) -> int:
        """Lost since the start, because database, spool and queue were all full or unavailable."""


@runtime_checkable
class SinkState(LedgerState, Protocol):
    """The same of a sink."""

    @property
    def kind(self) -> str:
        """What it publishes to: `kafka` or `redis`."""

    @property
    def published(self) -> int:
        """How many the broker has taken."""


class AdmissionState(Protocol):
    """How many requests may be in flight, and how many were refused for it."""

    @property
    def max_in_flight(self) -> int | None: ...

    @property
    def shed(self) -> Mapping[Priority, int]:
        """By priority."""


@runtime_checkable
class WebhookState(Protocol):
    """How telling receivers went."""

    @property
    def deliveries(self) -> Mapping[tuple[str, str], int]:
        """By event and outcome."""

    @property
    def pending(self) -> int: ...


class LoadState(Protocol):
    """How the loading of the configuration has gone."""

    @property
    def successful(self) -> bool:
        """Whether the last attempt has succeeded."""

    @property
    def succeeded_at(self) -> float:
        """When the last one did that has: seconds since 1970."""


class ObservedState:
    """Reads the numbers at each scrape: no cost per request, and never stale.

    A collector for prometheus_client. It runs in the thread that encodes the scrape, so it only reads.
    """

    def __init__(self) -> None:
        self._readers: dict[Spec, list[Callable[[], Values]]] = {}
        self._past: Final[Counted] = {}
        """What sources have counted that are not read any more: a counter never goes back."""
        self._reading: Final = RLock()

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """What is added within the block is read from then on, and nothing of what was read before."""
        with self._reading:
            before = dict(self._counters())
            self._readers = {}
            yield
            after = dict(self._counters())
            for spec, values in before.items():
                past, now = self._past.setdefault(spec, {}), after.get(spec, {})
                for labels, value in values.items():
                    if (missing := value - now.get(labels, 0)) > 0:
                        past[labels] = past.get(labels, 0) + missing

    def loads(self, state: LoadState) -> None:
        self._add(RELOAD_SUCCESSFUL, lambda: {(): float(state.successful)})
        self._add(RELOAD_SUCCESS_TIME, lambda: {(): state.succeeded_at})

    def faults(self, faults: Mapping[tuple[str, str], int]) -> None:
        self._add(HOOK_ERRORS, lambda: dict(faults))  # in one step: the event loop may add to it meanwhile

    def ledger(self, state: LedgerState) -> None:
        self._add(LEDGER_PENDING, lambda: {(): state.pending})
        self._add(LEDGER_SPOOLED, lambda: {(): state.spooled})
        self._add(LEDGER_DROPPED, lambda: {(): state.dropped})

    def sink(self, state: SinkState) -> None:
        self._add(SINK_PENDING, lambda: {(state.kind,): state.pending})
        self._add(SINK_SPOOLED, lambda: {(state.kind,): state.spooled})
        self._add(SINK_DROPPED, lambda: {(state.kind,): state.dropped})
        self._add(SINK_PUBLISHED, lambda: {(state.kind,): state.published})

    def admission(self, state: AdmissionState) -> None:
        if state.max_in_flight is not None:
            most = state.max_in_flight
            self._add(MAX_IN_FLIGHT, lambda: {(): most})
            self._add(SHED, lambda: _by_priority(state.shed))

    def webhooks(self, state: WebhookState) -> None:
        self._add(WEBHOOKS, lambda: dict(state.deliveries))
        self._add(WEBHOOKS_PENDING, lambda: {(): state.pending})

    def deployments(self, read: Callable[[], Iterable[DeploymentStatus]]) -> None:
        self._add(DEPLOYMENTS, lambda: _by_state(read()))
        self._add(DEPLOYMENT_RUNNING, lambda: {(each.model, each.deployment): each.running for each in read()})
        self._add(COOLDOWNS, lambda: {(each.model, each.deployment): each.cooldowns for each in read()})

    def queues(self, lengths: Mapping[str, int]) -> None:
        self._add(QUEUE_WAITING, lambda: {(scope,): number for scope, number in dict(lengths).items()})

    def _add(self, spec: Spec, read: Callable[[], Values]) -> None:
        self._readers.setdefault(spec, []).append(read)

    def values(self) -> Iterable[tuple[Spec, Mapping[tuple[str, ...], float]]]:
        """The sum of all sources of each metric: two middlewares may count the same one."""
        with self._reading:
            return [(spec, self._total(spec)) for spec in self._specs()]

    def _specs(self) -> Iterable[Spec]:
        return dict.fromkeys((*self._readers, *self._past))

    def _counters(self) -> Iterable[tuple[Spec, Mapping[tuple[str, ...], float]]]:
        return [(spec, self._total(spec)) for spec in self._specs() if spec.kind == "counter"]

    def _total(self, spec: Spec) -> Mapping[tuple[str, ...], float]:
        total = dict(self._past.get(spec, {}))
        for read in self._readers.get(spec, ()):
            for labels, value in read().items():
                total[labels] = total.get(labels, 0) + value
        return total

    def collect(self) -> "Iterable[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for spec, values in self.values():
            kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
            family = kind(spec.name, spec.help, labels=spec.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family


def _by_state(deployments: Iterable[DeploymentStatus]) -> dict[tuple[str, str, str], int]:
    """1 for the state of each, 0 for the others, so that one that it has left does not stay in the shared files."""
    return {
        (each.model, each.deployment, state): int(each.state == state)
        for each in deployments
        for state in HEALTH_STATES
    }


def _by_priority(shed: Mapping[Priority, int]) -> dict[tuple[str], int]:
    """With 0 for those of which none was refused, so that `rate` sees the first."""
    return {(priority,): shed.get(priority, 0) for priority in PRIORITIES}


MIRROR_SECONDS: Final = 1.0

logger = logging.getLogger("crplugins.metrics")


def shared_values(state: ObservedState, families: Families) -> "SharedValues | None":
    """None if this process keeps its values in memory."""
    directory = shared_directory()
    return None if directory is None else SharedValues(directory, state, families)


class SharedValues:
    """The files of this process, and the sum of the files of all processes."""

    def __init__(self, directory: Path, state: ObservedState, families: Families) -> None:
        self.collectors: Final[list[Collector]] = []
        self._directory = directory
        self._mirror = Mirror(state, families)
        self._copying: asyncio.Task[None] | None = None
        families.in_flight.set(0)  # the file may belong to a dead process with our pid

    async def open(self) -> None:
        await asyncio.to_thread(sweep, self._directory)
        self._copying = asyncio.create_task(self._copy())

    async def close(self) -> None:
        await stopped(self._copying)
        await asyncio.to_thread(leave, self._directory)

    def gathered(self) -> "CollectorRegistry":
        """The values of all processes, as they are now."""
        from prometheus_client import CollectorRegistry

        sweep(self._directory)
        registry = CollectorRegistry(support_collectors_without_names=True)
        registry.register(_Files(self._directory))
        for collector in self.collectors:
            registry.register(collector)
        return registry

    async def _copy(self) -> None:
        try:
            while True:
                self._copy_once()
                await asyncio.sleep(MIRROR_SECONDS)
        finally:
            self._copy_once()

    def _copy_once(self) -> None:
        try:
            self._mirror.copy()
        except Exception as error:  # a full disk, above all: the next copy may fit
            logger.error("the state of this worker cannot be shared: %s", error)


class _Files:
    """prometheus_client's sum of the files, without those that a starting worker has created and not yet filled, and
    without the keys that have given their place to others."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> "Iterable[Metric]":
        from prometheus_client.multiprocess import MultiProcessCollector

        files = [str(file) for file in self._directory.glob("*.db") if _size(file)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return without_hidden(merged, self._directory)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # its worker has just exited
        return 0


class Mirror:
    """Copies the numbers of `ObservedState` into counters and gauges, whose values are in the shared files."""

    def __init__(self, state: ObservedState, families: Families) -> None:
        self._state = state
        self._families = families
        self._counters: dict[Spec, Counter] = {}
        self._gauges: dict[Spec, Gauge] = {}
        self._counted: dict[tuple[Spec, tuple[str, ...]], float] = {}
        self._shown: set[tuple[Spec, tuple[str, ...]]] = set()

    def copy(self) -> None:
        shown: set[tuple[Spec, tuple[str, ...]]] = set()
        for spec, values in self._state.values():
            for labels, value in values.items():
                if spec.kind == "counter":
                    self._count(spec, labels, value)
                else:
                    self._set(spec, labels, value)
                    shown.add((spec, labels))
        for spec, labels in self._shown - shown:  # of a deployment that is not configured any more
            self._set(spec, labels, 0)
        self._shown = shown

    def _count(self, spec: Spec, labels: tuple[str, ...], value: float) -> None:
        counter = self._counters.get(spec) or self._counters.setdefault(spec, self._families.counter(spec))
        self._families.series(counter, *labels).inc(max(value - self._counted.get((spec, labels), 0), 0))
        self._counted[spec, labels] = value

    def _set(self, spec: Spec, labels: tuple[str, ...], value: float) -> None:
        gauge = self._gauges.get(spec) or self._gauges.setdefault(spec, self._families.gauge(spec))
        self._families.series(gauge, *labels).set(value)
