"""Recording rules: what alerts and long looks back would otherwise compute again and again."""

from dataclasses import dataclass
from typing import Final

from crplugins.plugins.metrics import table as t
from grafana.source.objectives import (
    AVAILABILITY,
    BURNS,
    FIRST_TOKEN,
    FIRST_TOKEN_SECONDS,
    SLOW_WINDOWS,
    WINDOWS,
    bound,
)
from grafana.source.queries import Scope, any_of, share

GATEWAY: Final = Scope({}, ("job",))
"""All series, each gateway's apart."""

MODEL: Final = ("model",)
COST_PER_KEY: Final = "key_id:crplugins_cost_usd:rate1h"


@dataclass(frozen=True, slots=True)
class Recording:
    """A series, called `labels:metric:operation`, and what it is."""

    name: str
    expr: str


def figures() -> list[Recording]:
    """What people look at, per model and key."""
    quantiles = [
        Recording(f"model:{t.TTFT.name}:p{round(q * 100)}_5m", GATEWAY.quantile(q, t.TTFT, by=MODEL, window="5m"))
        for q in (0.5, 0.95, 0.99)
    ]
    return [
        Recording("model:crplugins_requests:rate5m", GATEWAY.rate(t.REQUESTS, by=MODEL, window="5m")),
        Recording(COST_PER_KEY, GATEWAY.rate(t.COST, by=("key_id",), window="1h")),
        Recording("model:crplugins_cost_usd:rate1h", GATEWAY.rate(t.COST, by=MODEL, window="1h")),
        *quantiles,
    ]


def objectives(*, slow: bool) -> list[Recording]:
    """The share of bad requests over each window, and how many there were over the long ones."""
    windows = [window for window in WINDOWS if (window in SLOW_WINDOWS) is slow]
    counted = [window for window in windows if window in {burn.long for burn in BURNS}]
    return [
        *(Recording(AVAILABILITY.bad + window, _unavailable(window)) for window in windows),
        *(Recording(FIRST_TOKEN.bad + window, _late(window)) for window in windows),
        *(Recording(AVAILABILITY.counted + window, _answered(window)) for window in counted),
        *(Recording(FIRST_TOKEN.counted + window, _streams(window)) for window in counted),
    ]


_ANSWERED: Final = any_of("outcome", ("ok", "server_error"))


def _unavailable(window: str) -> str:
    """Clients' mistakes, limits and clients that left are neither good nor bad: they dilute nothing."""
    failed = GATEWAY.rate(t.DURATION, 'outcome="server_error"', by=MODEL, window=window)
    return share(failed, GATEWAY.rate(t.DURATION, _ANSWERED, by=MODEL, window=window))


def _late(window: str) -> str:
    fast = GATEWAY.rate(t.TTFT, f'le="{bound(FIRST_TOKEN_SECONDS)}"', by=MODEL, window=window, suffix="_bucket")
    return f"1 - {fast} / ({GATEWAY.rate(t.TTFT, by=MODEL, window=window)} > 0)"


def _answered(window: str) -> str:
    return GATEWAY.increase(t.DURATION, _ANSWERED, by=MODEL, window=window)


def _streams(window: str) -> str:
    return GATEWAY.increase(t.TTFT, by=MODEL, window=window)
