"""LimitGauges: the use of limits and budgets, as metrics.

The store is read at each scrape: nothing is counted per request, and no value is ever stale.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from crplugins.core.outcome import ErrorType
from crplugins.core.principal import Principal
from crplugins.core.usage import usd
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.metrics.table import Spec
from crplugins.plugins.rate_limits.plugin import RateLimits

if TYPE_CHECKING:
    from prometheus_client.core import Metric

UTILIZATION: Final = Spec(
    "crplugins_limit_utilization_ratio",
    "gauge",
    ("key_id", "limit"),
    "The share of a limit used in its last period; 1 or more while nothing remains.",
)
BUDGET_LIMIT: Final = Spec("crplugins_budget_limit_usd", "gauge", ("key_id",), "What may be spent in a period.")
BUDGET_SPENT: Final = Spec("crplugins_budget_spent_usd", "gauge", ("key_id",), "What is spent in this period.")
BUDGET_RESET: Final = Spec(
    "crplugins_budget_reset_timestamp_seconds", "gauge", ("key_id",), "When the next period of a budget begins."
)
STORE_OUTAGE: Final = Spec(
    "crplugins_limit_store_outage", "gauge", (), "1 while limits are decided without their store."
)
SHADOW_REFUSALS: Final = Spec(
    "crplugins_shadow_refusals_total",
    "counter",
    ("reason",),
    "Requests that a limit, budget or allow-list in shadow mode would refuse.",
)
KEY_INFO: Final = Spec("crplugins_key_info", "gauge", ("key_id", "team"), "Always 1: the team of each key.")

LIMITS_TABLE: Final = (
    UTILIZATION, BUDGET_LIMIT, BUDGET_SPENT, BUDGET_RESET, STORE_OUTAGE, SHADOW_REFUSALS, KEY_INFO,
)  # fmt: skip

_SECONDS: Final = 0.5
"""If the store takes longer, its values are not in this scrape."""

_AT_ONCE: Final = 50
"""Keys whose limits and budgets are read in one step of the event loop."""

logger = logging.getLogger("crplugins.metrics")

Values = Mapping[tuple[str, ...], float]


class OutageState(Protocol):
    """A limit store that may have an outage."""

    @property
    def unavailable(self) -> bool:
        """Whether limits are decided without the store now."""


class LimitGauges:
    """A collector for prometheus_client. Call `refresh` before each scrape, on the event loop.

    Args:
        key_label: the label of a key; None for a key without a label of its own, because labels are bounded.
        shadowed: how many requests each plugin would have refused, were it not for its shadow mode.
        store: where the limits are kept, if it can be unavailable.
    """

    def __init__(
        self,
        rate_limits: RateLimits,
        budgets: Budgets,
        *,
        key_label: Callable[[str], str | None],
        shadowed: Sequence[Counter[ErrorType]] = (),
        store: OutageState | None = None,
    ) -> None:
        self._rate_limits = rate_limits
        self._budgets = budgets
        self._key_label = key_label
        self._shadowed = shadowed
        self._store = store
        self._values: Mapping[Spec, Values] = {}

    async def refresh(self) -> None:
        """Read all values. What cannot be read is not shown: an old value would look like a current one."""
        values: dict[Spec, Values] = {}
        try:
            async with asyncio.timeout(_SECONDS):
                values[UTILIZATION] = await self._utilization()
                values |= await self._budget_values()
        except (StoreUnavailable, TimeoutError):
            logger.debug("limits cannot be read for a scrape")
        outage = self._store is not None and self._store.unavailable
        values[STORE_OUTAGE] = {(): float(outage)}
        shadowed = sum(self._shadowed, Counter[ErrorType]())
        values[SHADOW_REFUSALS] = {(reason,): float(count) for reason, count in shadowed.items()}
        values[KEY_INFO] = dict(self._teams())
        self._values = values

    def collect(self) -> "Iterable[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        values = self._values
        for spec in LIMITS_TABLE:
            family = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
            metric = family(spec.name, spec.help, labels=spec.labels)
            for labels, value in values.get(spec, {}).items():
                metric.add_metric(labels, value)
            yield metric

    def _teams(self) -> Iterable[tuple[tuple[str, ...], float]]:
        for principal in self._rate_limits.seen():
            if (label := self._key_label(principal.key_id)) is not None:
                yield (label, principal.team or ""), 1.0

    async def _shown(self, seen: Iterable[Principal]) -> AsyncIterator[Sequence[Principal]]:
        """Those with a label of their own, a few at a time: others are not shown, and requests go on in between."""
        shown = (principal for principal in seen if self._key_label(principal.key_id) is not None)
        while some := [*islice(shown, _AT_ONCE)]:
            yield some
            await asyncio.sleep(0)

    async def _utilization(self) -> Values:
        """Of limits per model, the highest utilization."""
        shares: dict[tuple[str, ...], float] = {}
        async for some in self._shown(self._rate_limits.seen()):
            for level in await self._rate_limits.levels_of(*some):
                label = self._key_label(level.owner) if level.scope in ("key", "key_and_model") else None
                if label is not None:
                    labels = (label, level.limit)
                    shares[labels] = max(shares.get(labels, 0.0), level.utilization)
        return shares

    async def _budget_values(self) -> dict[Spec, Values]:
        limit: dict[tuple[str, ...], float] = {}
        spent: dict[tuple[str, ...], float] = {}
        reset: dict[tuple[str, ...], float] = {}
        async for some in self._shown(self._budgets.seen()):
            for state in await self._budgets.states_of(*some):
                label = self._key_label(state.owner) if state.scope == "key" else None
                if label is not None:
                    limit[label,], spent[label,] = usd(state.amount), usd(state.spent)
                    if state.reset is not None:
                        reset[label,] = state.reset.timestamp()
        return {BUDGET_LIMIT: limit, BUDGET_SPENT: spent, BUDGET_RESET: reset}
