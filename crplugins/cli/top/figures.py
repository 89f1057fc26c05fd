"""Figures: what `crplugins top` shows, computed from two scrapes of a gateway's metrics.

`figures` takes the totals from the later scrape and the rates from the Change between both; `scrape` fetches one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from crplugins.cli.fetch import fetch
from crplugins.cli.refused import Refused
from crplugins.core.outcome import ERROR_TYPES, HEALTH_STATES, OUTCOMES
from crplugins.plugins.metrics import table as t
from crplugins.plugins.metrics.limits import BUDGET_LIMIT, BUDGET_SPENT, STORE_OUTAGE, UTILIZATION
from crplugins.plugins.metrics.table import BUILD_INFO

_ACCEPT: Final = "text/plain; version=0.0.4"
_FAILED: Final = frozenset(kind for kind in ERROR_TYPES if OUTCOMES[kind] == "server_error")
_REFUSED: Final = frozenset(kind for kind in ERROR_TYPES if OUTCOMES[kind] in ("limited", "client_error"))
Labels = Mapping[str, str]
Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of the gateway, a model or a key. Numbers count from the gateway's start, rates the last interval.

    Attributes:
        errors: requests that the gateway or a provider failed.
        refused: requests that a limit or a check refused.
        ttft_p50, ttft_p95: seconds, of the streams of the interval, else of all streams; None without streams.
    """

    name: str
    requests: int
    requests_per_second: float
    errors: int
    refused: int
    input_tokens: int
    output_tokens: int
    input_tokens_per_second: float
    output_tokens_per_second: float
    cost_usd: float
    ttft_p50: float | None = None
    ttft_p95: float | None = None


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of a limit a key has used: 1.0 is all of it."""

    key_id: str
    limit: str
    used: float


@dataclass(frozen=True, slots=True)
class BudgetUse:
    key_id: str
    spent_usd: float
    budget_usd: float


@dataclass(frozen=True, slots=True)
class DeploymentUse:
    """How a deployment fares: the number of processes in which it is in each state, its cooldowns, and how many
    requests it is answering."""

    model: str
    deployment: str
    healthy: int
    cooling: int
    trial: int
    cooldowns: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Figures:
    """One frame. Models by requests, keys by spend, limits and budgets by use, the highest first.

    Attributes:
        max_in_flight: None where there is no bound.
        shed: requests refused because there was no room.
        waiting: how many wait for a limit or a deployment, by its scope; those for which nobody waits are left out.
        deployments: those that are not healthy in every process first.
    """

    version: str
    uptime_seconds: float | None
    in_flight: int
    max_in_flight: int | None
    shed: int
    waiting: Mapping[str, int]
    total: Traffic
    models: list[Traffic]
    keys: list[Traffic]
    limits: list[LimitUse]
    budgets: list[BudgetUse]
    deployments: list[DeploymentUse]
    trouble: list[str]


_NO_TRAFFIC: Final = Traffic("", 0, 0.0, 0, 0, 0, 0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class TopScrape:
    """A gateway's metrics at one time, in monotonic seconds."""

    at: float
    samples: Mapping[str, list[tuple[Labels, float]]]

    @classmethod
    def of(cls, at: float, text: str) -> "TopScrape":
        """Raises ValueError for text that is not in Prometheus's format."""
        samples: dict[str, list[tuple[Labels, float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        return cls(at, samples)

    def labels(self, name: str) -> Labels:
        """The labels of the first sample of this name."""
        return next((labels for labels, _ in self.samples.get(name, ())), {})

    def sums(self, name: str, *by: str, only: Callable[[Labels], bool] | None = None) -> dict[tuple[str, ...], float]:
        """The samples of a name added up by some of their labels."""
        sums: dict[tuple[str, ...], float] = {}
        for labels, value in self.samples.get(name, ()):
            if only is None or only(labels):
                group = tuple(labels.get(label, "") for label in by)
                sums[group] = sums.get(group, 0.0) + value
        return sums

    def value(self, name: str) -> float | None:
        """All samples of a name added up; None if there is none."""
        return self.sums(name).get(())


def figures(before: TopScrape, after: TopScrape, wall_time: float) -> Figures:
    """`wall_time` in seconds since 1970."""
    change = Change(before, after)
    started = after.value("process_start_time_seconds")
    (total,) = change.traffic() or [_NO_TRAFFIC]
    return Figures(
        version=after.labels(t.BUILD_INFO.name).get("version", ""),
        uptime_seconds=None if started is None else max(wall_time - started, 0.0),
        in_flight=round(after.value(t.IN_FLIGHT.name) or 0),
        max_in_flight=_whole(after.value(t.MAX_IN_FLIGHT.name)),
        shed=round(after.value(t.SHED.name) or 0),
        waiting={
            scope: round(number) for (scope,), number in after.sums(t.QUEUE_WAITING.name, "scope").items() if number
        },
        total=total,
        models=sorted(change.traffic("model"), key=lambda each: (-each.requests, each.name)),
        keys=sorted(change.traffic("key_id"), key=lambda each: (-each.cost_usd, -each.requests, each.name)),
        limits=_limits(after),
        budgets=_budgets(after),
        deployments=_deployments(after),
        trouble=list(_trouble(change)),
    )


class Change:
    """The difference between two scrapes of a gateway."""

    def __init__(self, before: TopScrape, after: TopScrape) -> None:
        self._before, self.after = before, after
        self._seconds = max(after.at - before.at, 1e-9)

    def traffic(self, *by: str) -> list[Traffic]:
        """The traffic by a label, without a label that of the whole gateway. Values without requests are omitted."""
        numbers = self.after.sums(t.REQUESTS.name, *by)
        return [self._of(group, by) for group, number in numbers.items() if number or not by]

    def grown(self, name: str) -> float:
        """How much a counter has grown between the scrapes."""
        return self._rates(name, ()).get((), 0.0) * self._seconds

    def _of(self, group: Group, by: Group) -> Traffic:
        def now(name: str, only: Callable[[Labels], bool] | None = None) -> float:
            return self.after.sums(name, *by, only=only).get(group, 0.0)

        def rate(name: str) -> float:
            return self._rates(name, by).get(group, 0.0)

        first = self._first_token(group, by) if "key_id" not in by else []
        return Traffic(
            name=group[0] if group else "",
            requests=round(now(t.REQUESTS.name)),
            requests_per_second=rate(t.REQUESTS.name),
            errors=round(now(t.REQUESTS.name, _is_one_of(_FAILED))),
            refused=round(now(t.REQUESTS.name, _is_one_of(_REFUSED))),
            input_tokens=round(now(t.INPUT_TOKENS.name)),
            output_tokens=round(now(t.OUTPUT_TOKENS.name)),
            input_tokens_per_second=rate(t.INPUT_TOKENS.name),
            output_tokens_per_second=rate(t.OUTPUT_TOKENS.name),
            cost_usd=now(t.COST.name),
            ttft_p50=quantile(0.5, first),
            ttft_p95=quantile(0.95, first),
        )

    def _rates(self, name: str, by: Group) -> dict[Group, float]:
        """Growth per second. A counter that is smaller than before was reset to 0 by a restart of the gateway."""
        before = self._before.sums(name, *by)
        return {
            group: (value - before.get(group, 0.0) if value >= before.get(group, 0.0) else value) / self._seconds
            for group, value in self.after.sums(name, *by).items()
        }

    def _first_token(self, group: Group, by: Group) -> list[tuple[float, float]]:
        """The buckets of the interval, or those since the start if no stream has begun in the interval."""
        name = f"{t.TTFT.name}_bucket"
        now, then = (
            {bound: count for (bound, *rest), count in each.sums(name, "le", *by).items() if tuple(rest) == group}
            for each in (self.after, self._before)
        )
        grown = {bound: count - then.get(bound, 0.0) for bound, count in now.items()}
        chosen = grown if grown.get("+Inf", 0.0) > 0 else now
        return [(float(bound), count) for bound, count in chosen.items()]


def _is_one_of(kinds: frozenset[str]) -> Callable[[Labels], bool]:
    return lambda labels: labels.get("error_type") in kinds


def _limits(scrape: TopScrape) -> list[LimitUse]:
    uses = [
        LimitUse(key, limit, used) for (key, limit), used in scrape.sums(UTILIZATION.name, "key_id", "limit").items()
    ]
    return sorted(uses, key=lambda use: (-use.used, use.key_id, use.limit))


def _budgets(scrape: TopScrape) -> list[BudgetUse]:
    spent = scrape.sums(BUDGET_SPENT.name, "key_id")
    uses = [
        BudgetUse(key[0], spent.get(key, 0.0), usd) for key, usd in scrape.sums(BUDGET_LIMIT.name, "key_id").items()
    ]
    return sorted(uses, key=lambda use: (-use.spent_usd / use.budget_usd if use.budget_usd else -1.0, use.key_id))


def _deployments(scrape: TopScrape) -> list[DeploymentUse]:
    states = scrape.sums(t.DEPLOYMENTS.name, "model", "deployment", "state")
    cooldowns: dict[tuple[str, ...], float] = scrape.sums(t.COOLDOWNS.name, "model", "deployment")
    running: dict[tuple[str, ...], float] = scrape.sums(t.DEPLOYMENT_RUNNING.name, "model", "deployment")
    uses = []
    for name in dict.fromkeys((model, deployment) for model, deployment, _ in states):
        healthy, cooling, trial = (round(states.get((*name, state), 0)) for state in HEALTH_STATES)
        numbers = (healthy, cooling, trial, round(cooldowns.get(name, 0)), round(running.get(name, 0)))
        uses.append(DeploymentUse(*name, *numbers))
    return sorted(uses, key=lambda use: (-use.cooling - use.trial, -use.cooldowns, use.model, use.deployment))


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _trouble(change: Change) -> Iterable[str]:
    """Problems that an operator should see."""
    after = change.after
    if after.value(STORE_OUTAGE.name):
        yield "limits are decided without their store, which is unavailable"
    if shed := change.grown(t.SHED.name):
        yield f"{shed:,.0f} requests were refused just now because server.max_in_flight is reached"
    if spooled := after.value(t.LEDGER_SPOOLED.name):
        yield f"{spooled:,.0f} usage records wait on disk for the ledger's database"
    if lost := after.value(t.LEDGER_DROPPED.name):
        yield f"{lost:,.0f} usage records are lost"
    for (plugin, hook), number in after.sums(t.HOOK_ERRORS.name, "plugin", "hook").items():
        yield f"{plugin}.{hook} has failed {number:,.0f} times"


def quantile(q: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """Prometheus's estimate of a quantile, from cumulative counts by upper bound; None without observations."""
    ordered = sorted(buckets)
    if not ordered or ordered[-1][1] <= 0:
        return None
    rank, lower, below = q * ordered[-1][1], 0.0, 0.0
    for upper, count in ordered:
        if count >= rank:
            if upper == float("inf") or count == below:
                return lower
            return lower + (upper - lower) * (rank - below) / (count - below)
        lower, below = upper, count
    return lower


def scrape(url: str, token: str | None, clock: Callable[[], float]) -> TopScrape:
    """Fetches the metrics. Follows no redirect, which could send the token to another server. Raises `Refused`."""
    status, text = fetch(url, {"accept": _ACCEPT} | ({"authorization": f"Bearer {token}"} if token else {}))
    if status == 401:
        raise Refused(f"{url} needs the metrics token: pass --token, or the configuration of the gateway")
    if status != 200:
        raise Refused(f"{url} answers {status}; the path of metrics is in the configuration: metrics: {{path: ...}}")
    try:
        found = TopScrape.of(clock(), text)
    except ValueError:
        raise Refused(f"the answer of {url} is not in Prometheus's format") from None
    if BUILD_INFO.name not in found.samples:
        raise Refused(f"the answer of {url} has no metrics of crplugins")
    return found
