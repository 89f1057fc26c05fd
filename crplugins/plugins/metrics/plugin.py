"""Metrics: every finished request in Prometheus series.

`table.py` defines the metrics, `families.py` makes prometheus_client's objects of them, `series.py` finds those that a
request is counted in. Several worker processes share their values in files: `directory.py` and `shared.py`. The use of
limits and budgets is read by a separate collector: `limits.py`.
"""

import asyncio
import logging
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from crplugins.core.exchange import Exchange, Slot
from crplugins.core.installed import installed_version
from crplugins.core.plugin import Plugin
from crplugins.core.processes import METRICS_DIRECTORY_VARIABLE, is_one_of_several
from crplugins.core.shared import Shared
from crplugins.core.sse import Event
from crplugins.core.trace import trace_of
from crplugins.metering.record import record_of
from crplugins.plugins.metrics.deployments import DeploymentStatus
from crplugins.plugins.metrics.directory import open_shared_directory
from crplugins.plugins.metrics.families import Collector, Families, Registry, WithoutCreated, restricted
from crplugins.plugins.metrics.series import Series
from crplugins.plugins.metrics.shared import (
    AdmissionState,
    LedgerState,
    LoadState,
    ObservedState,
    SinkState,
    WebhookState,
    shared_values,
)
from crplugins.plugins.rate_limits.request import WAITS

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

DEFAULT_KEY_CAP: Final = 500

logger = logging.getLogger("crplugins.metrics")


class Metrics(Shared, Plugin):
    """Counts chat completions. Place it outermost, outside Auth, so that refused requests are counted too.

    Tokens and cost are those of the usage record, from which the ledger's row is written: they agree. Tokens of answers
    from a cache have counters of their own.

    The number of series (the cardinality) is bounded. `model` is the requested name if it is configured, else the first
    pattern that matches, else `other`. `key_id` is the id of an authenticated key, `none` without one, `other` for keys
    past the cap; `crplugins_label_overflow_total` counts the replacements. Configured keys come first, so that all
    workers agree on them. Of other keys each worker admits the first that come: once the cap is reached, a key may have
    its own series in one worker and be `other` in the next, and only their sum is exact. A key that was quiet for an
    hour then makes room for a new one: its series end, and begin with 0 if it comes back, which Prometheus knows as a
    restart. With several workers they end when it has no place in any, and go on from where they were if it comes back.

    Args:
        models: configured names, aliases and patterns with one `*`, in the order in which patterns are tried.
        keys: configured key ids, in configuration order.
        key_cap: how many keys have series of their own, including configured ones.
        registry: where the metrics are registered; None for a new one, with the metrics of the process.
        inter_chunk: observe the time between chunks of a stream. Costs a microsecond per chunk, and a chunk is not a
            token; `crplugins_stream_max_gap_seconds` is always there.

    Attributes:
        since: when its counters began with 0, in nanoseconds since 1970.

    Raises ValueError if `registry` has one of the names already.
    """

    reads_usage: bool = True
    reads_events: bool = True
    observes: bool = True

    def __init__(
        self,
        models: Iterable[str] = (),
        keys: Iterable[str] = (),
        *,
        key_cap: int = DEFAULT_KEY_CAP,
        registry: "CollectorRegistry | None" = None,
        inter_chunk: bool = False,
    ) -> None:
        open_shared_directory()
        self.reads_events = inter_chunk
        self.since: Final = time.time_ns()
        self._registry = Registry(registry)
        self._families = Families(self._registry, inter_chunk=inter_chunk)
        self._series = Series(self._families, models, keys, key_cap)
        self._state = ObservedState()
        self._shared = shared_values(self._state, self._families)
        self._last_chunk: Slot[float] = Slot("metrics.last_chunk")
        self._enter = self._families.in_flight.inc
        self._leave = self._families.in_flight.dec
        self._overhead = self._families.overhead.observe
        if self._shared is None:
            self._registry.register(self._state)

    @property
    def registry(self) -> "CollectorRegistry":
        """Where the metrics are registered. Call it in a thread: the first call may import prometheus_client."""
        return self._registry.made()

    def on_request(self, exchange: Exchange) -> None:  # noqa: ARG002
        self._enter()

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        """Called with `inter_chunk` only."""
        now, last = exchange.timings.last_token, self._last_chunk.get(exchange)
        if now is not None and now != last:
            self._last_chunk.set(exchange, now)
            observe = self._series.model(exchange.requested_model).inter_chunk
            if last is not None and observe is not None:
                observe(now - last)
        return event

    def on_finish(self, exchange: Exchange) -> None:
        self._leave()
        record = record_of(exchange)
        model = self._series.model(record.requested_model)
        now = exchange.timings.ended or exchange.clock()
        key = self._series.key(model, record.key_id, now)
        key.used = now
        key.ended[record.endpoint, record.status, record.error_type]()
        exemplar = _exemplar_of(exchange) if self._shared is None else None
        model.durations[record.stream][record.endpoint, record.outcome](record.duration_ms / 1e3, exemplar)
        self._overhead(max(record.overhead_us, 0) / 1e6)
        if record.ttft_ms is not None:
            model.ttft(record.ttft_ms / 1e3, exemplar)
            model.note_stream(record)
        if record.usage_source == "cache":
            key.note_cache(record, self._families)
        elif record.usage_source != "none":
            key.note_usage(record)
            model.note_usage(record)
        elif record.status < 400 and exchange.timings.app is not None:
            model.unmetered["no_usage"]()
        if WAITS in exchange.slots:
            self._note_waits(exchange)
        for attempt in exchange.attempts:
            model.note_attempt(attempt, exchange.timings.ended)
        for reason in exchange.fallbacks:
            model.fell_back[reason]()
        if exchange.rescues:
            model.note_rescues(exchange.rescues, record.outcome)
        if model is self._series.other and record.requested_model is not None:
            self._series.note_unknown(record.requested_model)

    def configure(self, models: Iterable[str], keys: Iterable[str], key_cap: int) -> None:
        """Make series for these too: the configuration has changed. Series that have begun go on, whatever becomes of
        their names; those of a key that is no longer configured until another needs the room."""
        self._series.configure(models, keys, key_cap)

    @contextmanager
    def observing_anew(self) -> Iterator[None]:
        """What is observed within the block replaces what was observed before; counters go on from where they are."""
        self._series.deployments = 0
        with self._state.replaced():
            yield

    def observe_loads(self, state: LoadState) -> None:
        """Show whether the configuration could be loaded, and when it was."""
        self._state.loads(state)

    def observe_faults(self, faults: Mapping[tuple[str, str], int]) -> None:
        """Show `PluginMiddleware.faults`, read at each scrape, as `crplugins_hook_errors_total`."""
        self._state.faults(faults)

    def observe_ledger(self, state: LedgerState) -> None:
        """Show how many records are pending, spooled and dropped."""
        self._state.ledger(state)

    def observe_sink(self, state: SinkState) -> None:
        """The same of a sink, and how many it has published."""
        self._state.sink(state)

    def observe_admission(self, state: AdmissionState) -> None:
        """Show how many requests may be in flight, and how many were refused for it."""
        self._state.admission(state)

    def observe_webhooks(self, state: WebhookState) -> None:
        """Show how telling receivers goes."""
        self._state.webhooks(state)

    def observe_deployments(self, read: Callable[[], Iterable[DeploymentStatus]], most: int) -> None:
        """Show how each deployment fares, of which there are so many at `most`."""
        self._state.deployments(read)
        self._series.deployments += most

    def observe_queues(self, lengths: Mapping[str, int]) -> None:
        """Show how many requests wait for limits, by the scope of the limit."""
        self._state.queues(lengths)

    def note_push(self, *, delivered: bool) -> None:
        """They were sent over OTLP, or could not be."""
        self._families.pushes.labels("delivered" if delivered else "failed").inc()

    def add_collector(self, collector: Collector) -> None:
        """Show what `collector` returns at each scrape: values that are the same in every worker."""
        if self._shared is None:
            self._registry.register(collector)
        else:
            self._shared.collectors.append(collector)

    def key_label(self, key_id: str) -> str | None:
        """The label of a key in the series; None for a key that is `other`."""
        return self._series.key_label(key_id)

    def exposed(self, names: Iterable[str] = ()) -> Collector:
        """What to encode for a scrape; only the samples called `names`, if any are given.

        Reads files if several workers share them, so call it, like the encoder, in a thread.
        """
        registry = self.registry if self._shared is None else self._shared.gathered()
        return WithoutCreated(restricted(registry, names))

    def worst_case_series(self) -> int:
        """The largest possible number of series, without those of the process, hook errors and added collectors."""
        return self._series.worst_case()

    async def open(self) -> None:
        await asyncio.to_thread(self._describe_build)
        logger.info("at most %d series: %s", self.worst_case_series(), self._series)
        if self._shared is not None:
            await self._shared.open()
        elif await asyncio.to_thread(is_one_of_several):
            logger.warning(
                "several workers share this port, and each counts alone: a scrape shows one of them. Set %s to a new "
                "folder before they start, or run one worker per scrape target",
                METRICS_DIRECTORY_VARIABLE,
            )

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()

    def _note_waits(self, exchange: Exchange) -> None:
        families = self._families
        for wait in WAITS.get(exchange) or ():
            families.series(families.queued, wait.scope, wait.end).inc()
            if wait.end not in ("full", "too_long"):
                families.series(families.queue_wait, wait.scope).observe(wait.seconds)

    def _describe_build(self) -> None:
        """Blocks: finds installed packages on disk."""
        versions = installed_version("crplugins") or "", platform.python_version(), installed_version("litellm") or ""
        self._families.build_info.labels(*versions).set(1)


def _exemplar_of(exchange: Exchange) -> dict[str, str] | None:
    """Only for a sampled trace: another would be a link to nothing."""
    trace = trace_of(exchange)
    return {"trace_id": trace.id} if trace is not None and trace.sampled else None
