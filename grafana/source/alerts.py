"""Alerts: whom to wake, whom to send a ticket, and about what.

Every alert keeps `job`, so that two gateways watched by one Prometheus stay apart.
"""

import re
from dataclasses import dataclass
from typing import Final

from crplugins.plugins.metrics import limits
from crplugins.plugins.metrics import table as t
from grafana.source.frame import KEYS_UID, OVERVIEW_UID
from grafana.source.objectives import (
    AVAILABILITY,
    BURNS,
    FIRST_TOKEN,
    FIRST_TOKEN_SECONDS,
    MINIMUM_REQUESTS,
    PROVIDER_FAULTS,
    Burn,
    Objective,
    Severity,
)  # fmt: skip
from grafana.source.queries import any_of, share
from grafana.source.recording import COST_PER_KEY, GATEWAY

RUNBOOK: Final = "RUNBOOK.md"
JOB: Final = "crplugins"
"""The `job_name` of the scrape configuration."""

_NAMED: Final = re.compile(r"\$labels\.(model|key_id)\b")
KEY: Final = ("key_id",)
METERED: Final = any_of("outcome", ("ok", "server_error", "cancelled"))


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. In `summary` and `description` Prometheus fills in `{{ $labels.model }}` and `{{ $value }}`.

    Attributes:
        hold: how long it must be so before anybody is told.
        window: the label that tells alerts of one name apart.
    """

    name: str
    severity: Severity
    hold: str
    expr: str
    summary: str
    description: str
    window: str | None = None

    @property
    def runbook(self) -> str:
        return f"{RUNBOOK}#{self.name.lower()}"

    @property
    def dashboard(self) -> str:
        """Where it is seen, below Grafana's address; of the model or key alone that its summary names."""
        named = _NAMED.search(self.summary)
        if named is None:
            return f"/d/{OVERVIEW_UID}"
        uid = KEYS_UID if named[1] == "key_id" else OVERVIEW_UID
        return f"/d/{uid}?var-{named[1]}={{{{ $labels.{named[1]} | urlquery }}}}"


def objective_alerts() -> list[Alert]:
    late = f"of the streams had no token after {FIRST_TOKEN_SECONDS:g} s"
    return [
        *(_burn(AVAILABILITY, burn, "{{ $labels.model }} fails", "of the requests failed") for burn in BURNS),
        *(_burn(FIRST_TOKEN, burn, "{{ $labels.model }} starts late", late) for burn in BURNS),
    ]


def _burn(objective: Objective, burn: Burn, summary: str, bad: str) -> Alert:
    threshold = f"{objective.threshold(burn):g}"
    counted = f"{objective.counted}{burn.long} > {MINIMUM_REQUESTS}"
    return Alert(
        objective.alert, burn.severity, burn.hold,
        f"{objective.bad}{burn.long} > {threshold}\nand {objective.bad}{burn.short} > {threshold}\nand {counted}",
        summary,
        f"{{{{ $value | humanizePercentage }}}} {bad} in {burn.long}, and about as many in the last {burn.short}: "
        f"{burn.factor:g} times what the objective of {objective.share:.0%} allows.",
        burn.long,
    )  # fmt: skip


def spending_alerts() -> list[Alert]:
    spent, limit, reset = (
        GATEWAY.gauge(spec, by=KEY, how="max")
        for spec in (limits.BUDGET_SPENT, limits.BUDGET_LIMIT, limits.BUDGET_RESET)
    )
    rest = f"clamp_min({reset} - time(), 0)"
    used = GATEWAY.gauge(limits.UTILIZATION, by=("key_id", "limit"), how="max")
    unmetered = GATEWAY.rate(t.UNMETERED, by=("model", "reason"), window="30m")
    answered = GATEWAY.rate(t.DURATION, METERED, by=("model",), window="30m")
    return [
        Alert("CrpluginsBudgetNearlySpent", "ticket", "5m",
              f"{spent} / ({limit} > 0) > 0.9",
              "{{ $labels.key_id }} has nearly spent its budget",
              "{{ $value | humanizePercentage }} of the period's budget is spent. At 100 % the key is refused."),
        Alert("CrpluginsBudgetWillRunOut", "ticket", "30m",
              f"{spent} + on (job, key_id) {COST_PER_KEY} * {rest}\n> {limit}\nand {spent} < {limit}",
              "{{ $labels.key_id }} will run out of budget",
              "At the rate of the last hour it will have spent {{ $value | humanize }} US dollars by the end of the "
              "period, which is more than its budget."),
        Alert("CrpluginsLimitSaturated", "ticket", "10m",
              f"{used} > 0.9",
              "{{ $labels.key_id }} is at its limit {{ $labels.limit }}",
              "{{ $value | humanizePercentage }} of it was used in its last period, for ten minutes now: requests are "
              "refused, or will be soon."),
        Alert("CrpluginsUnmeteredTraffic", "ticket", "30m",
              f"{unmetered}\n/ on (job, model) group_left () ({answered} > 0) > 0.05",
              "{{ $labels.model }} is not fully metered ({{ $labels.reason }})",
              "{{ $value | humanizePercentage }} of its requests in 30m have no usage (no_usage), an estimated one "
              "(estimated) or no price (no_price). Budgets count too little of them."),
    ]  # fmt: skip


def provider_alerts() -> list[Alert]:
    where = ("provider", "model")
    failed = GATEWAY.rate(t.ATTEMPTS, any_of("error_type", PROVIDER_FAULTS), by=where, window="5m")
    calls = GATEWAY.rate(t.ATTEMPTS, by=where, window="5m")
    first = GATEWAY.rate(t.ATTEMPTS, 'kind="initial"', by=("model",), window="15m")
    fallback = GATEWAY.rate(t.ATTEMPTS, 'kind="fallback"', by=("model",), window="15m")
    rescued = GATEWAY.rate(t.RESCUES, by=("model",), window="15m")
    streams = GATEWAY.rate(t.TTFT, by=("model",), window="15m")
    all_calls = GATEWAY.rate(t.ATTEMPTS, by=("model",), window="15m")
    left_out = GATEWAY.rate(t.LEFT_OUT, by=where, window="15m")
    calls_of = GATEWAY.rate(t.ATTEMPTS, by=where, window="15m")

    def well(*by: str) -> str:
        return GATEWAY.gauge(t.DEPLOYMENTS, 'state="healthy"', by=by)

    def cooldowns(*by: str) -> str:
        """An idle deployment cools down until somebody asks for it: that is no outage."""
        return GATEWAY.increase(t.COOLDOWNS, by=by, window="15m")

    return [
        Alert("CrpluginsUpstreamFailing", "page", "5m",
              f"{share(failed, calls)} > 0.5\nand {calls} > 0.05",
              "{{ $labels.provider }} fails for {{ $labels.model }}",
              "{{ $value | humanizePercentage }} of the calls in 5m failed through the provider's fault."),
        Alert("CrpluginsFallbackInUse", "ticket", "15m",
              f"{fallback} / ({first} > 0) > 0.05",
              "{{ $labels.model }} is served by a fallback",
              "{{ $value | humanizePercentage }} of its requests in 15m went to a fallback, at its price."),
        Alert("CrpluginsDeploymentOut", "ticket", "10m",
              f"{well('model', 'deployment')} == 0\nand {cooldowns('model', 'deployment')} > 0",
              "{{ $labels.deployment }} is left out for {{ $labels.model }}",
              "It keeps failing: no process has found it healthy for ten minutes. Others answer in its place."),
        Alert("CrpluginsModelOut", "page", "2m",
              f"{well('model')} == 0\nand {cooldowns('model')} > 0",
              "no deployment of {{ $labels.model }} is healthy",
              "All of them keep failing, for two minutes now: its requests fail, or go to another model."),
        Alert("CrpluginsStreamsBreak", "ticket", "10m",
              f"{rescued} / ({streams} > 0) > 0.05\nand {rescued} > 0.01",
              "the streams of {{ $labels.model }} break",
              "{{ $value | humanizePercentage }} of them in 15m broke after their first token and were taken over by "
              "another deployment, which costs the tokens of both."),
        Alert("CrpluginsMalformedEvents", "ticket", "10m",
              f"{share(left_out, calls_of)} > 0.01\nand {left_out} > 0.005",
              "{{ $labels.provider }} sends events of {{ $labels.model }} that nobody can read",
              "{{ $value | humanizePercentage }} as many as calls in 15m. They were left out of the answers "
              "(skip_malformed), and what stood in them is lost; one more in a stream ends it."),
        Alert("CrpluginsCallsMultiplied", "ticket", "10m",
              f"{share(all_calls, first)} > 1.4\nand {all_calls} > 0.05",
              "providers are called more often than {{ $labels.model }} is asked for",
              "{{ $value | humanize }} calls for each request in 15m: retries and fallbacks multiply what fails."),
    ]  # fmt: skip


def room_alerts() -> list[Alert]:
    shed = GATEWAY.rate(t.SHED, by=("priority",), window="5m")
    high = GATEWAY.rate(t.SHED, 'priority="high"', by=("priority",), window="5m")
    waits = GATEWAY.rate(t.QUEUED, by=("scope",), window="15m")
    lost = GATEWAY.rate(t.QUEUED, any_of("end", ("full", "too_long", "deadline")), by=("scope",), window="15m")
    return [
        Alert("CrpluginsQueueOverrun", "ticket", "10m",
              f"{share(lost, waits)} > 0.2\nand {lost} > 0.01",
              "waiting for limits of a {{ $labels.scope }} is in vain",
              "{{ $value | humanizePercentage }} of the requests that had to wait in 15m were refused in the end: the "
              "queue was full, or their turn did not come in time."),
        Alert("CrpluginsRequestsShed", "ticket", "10m",
              f"{shed} > 0",
              "no room for requests of priority {{ $labels.priority }}",
              "{{ $value | humanize }} per second are refused with 503, for ten minutes now, because as many are in "
              "flight as server.max_in_flight leaves to their priority."),
        Alert("CrpluginsHighPriorityShed", "page", "2m",
              f"{high} > 0",
              "no room even for requests of priority {{ $labels.priority }}",
              "{{ $value | humanize }} per second are refused with 503: server.max_in_flight is reached."),
    ]  # fmt: skip


def gateway_alerts() -> list[Alert]:
    instance = ("instance",)
    spooled = GATEWAY.select(t.LEDGER_SPOOLED)
    dropped = GATEWAY.increase(t.LEDGER_DROPPED, by=instance, window="1h")
    outage = GATEWAY.gauge(limits.STORE_OUTAGE, by=instance, how="max")
    overflow = GATEWAY.increase(t.OVERFLOW, 'label!="model"', by=("label",), window="1h")
    faults = GATEWAY.rate(t.HOOK_ERRORS, by=("plugin", "hook"), window="5m")
    reloaded = GATEWAY.gauge(t.RELOAD_SUCCESSFUL, by=instance, how="min")
    up = f'up{{job="{JOB}"}}'
    return [
        Alert("CrpluginsLedgerSpoolGrowing", "ticket", "5m",
              f"min_over_time({spooled}[15m]) > 0\nand delta({spooled}[15m]) >= 0",
              "usage records of {{ $labels.instance }} do not reach the database",
              "At least {{ $value }} wait on its disk for 15m, and they do not become fewer."),
        Alert("CrpluginsLedgerRecordsLost", "page", "0m",
              f"{dropped} > 0",
              "{{ $labels.instance }} has lost usage records",
              "{{ $value | humanize }} in 1h: database and disk were unavailable. Bills and budgets are too low."),
        Alert("CrpluginsLimitStoreOutage", "page", "2m",
              f"{outage} > 0",
              "{{ $labels.instance }} decides limits without their store",
              "For two minutes it has decided limits and budgets by its outage policy: for itself alone, not at all, "
              "or by refusing every request."),
        Alert("CrpluginsLabelOverflow", "ticket", "0m",
              f"{overflow} > 0",
              "more values of {{ $labels.label }} than the metrics tell apart",
              "{{ $value | humanize }} requests in 1h were counted under `other` instead."),
        Alert("CrpluginsHookErrors", "ticket", "10m",
              f"{faults} > 0",
              "plugin {{ $labels.plugin }} fails in {{ $labels.hook }}",
              "{{ $value | humanize }} times per second. One that only observes is muted; any other refuses requests."),
        Alert("CrpluginsConfigReloadFailed", "ticket", "10m",
              f"{reloaded} == 0",
              "{{ $labels.instance }} has refused its new configuration",
              "It serves by the one before it. At its next start it would not start at all."),
        Alert("CrpluginsDown", "page", "2m",
              f"{up} == 0 or absent({up})",
              "the gateway {{ $labels.instance }} is down",
              f"Prometheus cannot scrape it for two minutes, or has no target of the job {JOB} at all. Without it no "
              "other alert can fire."),
    ]  # fmt: skip


def alert_groups() -> dict[str, list[Alert]]:
    return {
        "objectives": objective_alerts(),
        "spending": spending_alerts(),
        "providers": provider_alerts(),
        "room": room_alerts(),
        "gateway": gateway_alerts(),
    }
