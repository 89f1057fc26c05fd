"""Metrics that stand in no table: those of limits and keys, which are read off their stores at each scrape."""

from typing import Final

from crplugins.plugins.metrics_table import TABLE, Spec

LIMIT_UTILIZATION: Final = Spec(
    "crplugins_limit_utilization_ratio", "gauge", ("key_id", "limit"), "The used share of a limit."
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
    "crplugins_shadow_refusals_total", "counter", ("reason",), "Requests that a limit in shadow mode would refuse."
)
KEY_INFO: Final = Spec("crplugins_key_info", "gauge", ("key_id", "team"), "Always 1: the team of each key.")

ANNOUNCED: Final = (
    LIMIT_UTILIZATION, BUDGET_LIMIT, BUDGET_SPENT, BUDGET_RESET, STORE_OUTAGE, SHADOW_REFUSALS, KEY_INFO,
)  # fmt: skip

SPECS: Final = (*TABLE, *(spec for spec in ANNOUNCED if spec.name not in {known.name for known in TABLE}))
"""Every metric that dashboards and rules may name."""
