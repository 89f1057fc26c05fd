"""Numbers that others keep, shown as metrics: failed hooks, the ledger's backlog."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from crplugins.ledger.ledger import LedgerState
from crplugins.plugins.metrics_table import HOOK_ERRORS, LEDGER_DROPPED, LEDGER_PENDING, LEDGER_SPOOLED, Spec

Values = Mapping[tuple[str, str], int] | Mapping[tuple[()], int]
"""By label values."""


class ObservedState:
    """Reads the numbers when it is asked for them: no cost while requests pass, and never stale.

    A collector of prometheus_client's. It runs in the thread that renders, so it only reads.
    """

    def __init__(self) -> None:
        self._readers: Final[dict[Spec, list[Callable[[], Values]]]] = {}

    def faults(self, faults: Mapping[tuple[str, str], int]) -> None:
        self._add(HOOK_ERRORS, lambda: dict(faults))  # in one step: the event loop may add to it

    def ledger(self, state: LedgerState) -> None:
        self._add(LEDGER_PENDING, lambda: {(): state.pending})
        self._add(LEDGER_SPOOLED, lambda: {(): state.spooled})
        self._add(LEDGER_DROPPED, lambda: {(): state.dropped})

    def _add(self, spec: Spec, read: Callable[[], Values]) -> None:
        self._readers.setdefault(spec, []).append(read)

    def values(self) -> Iterable[tuple[Spec, Mapping[tuple[str, ...], int]]]:
        """Several sources of one metric (two middlewares) are added up."""
        for spec, readers in list(self._readers.items()):
            total: dict[tuple[str, ...], int] = {}
            for read in readers:
                for labels, value in read().items():
                    total[labels] = total.get(labels, 0) + value
            yield spec, total

    def collect(self) -> Iterable[Metric]:
        for spec, values in self.values():
            kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
            family = kind(spec.name, spec.help, labels=spec.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
