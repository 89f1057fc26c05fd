"""What the gateway promises, over which windows it is measured, and how fast a burn of it is an alarm.

Multi-window, multi-burn-rate alerts as in Google's SRE workbook: an alert needs a long window, so that it is not about
a blip, and a short one, so that it ends soon after the trouble has.
"""

from dataclasses import dataclass
from typing import Final, Literal

from crplugins.core.outcome import OUTCOMES
from crplugins.plugins.metrics.table import TTFT, TTFT_BUCKETS

Severity = Literal["page", "ticket"]

MINIMUM_REQUESTS: Final = 100
"""In the long window. Below, one unlucky request at night would be an outage."""

SERVER_ERRORS: Final = tuple(kind for kind, outcome in OUTCOMES.items() if outcome == "server_error")
LIMITED: Final = tuple(kind for kind, outcome in OUTCOMES.items() if outcome == "limited")
CLIENT_ERRORS: Final = tuple(kind for kind, outcome in OUTCOMES.items() if outcome == "client_error")
PROVIDER_FAULTS: Final = tuple(kind for kind in SERVER_ERRORS if kind.startswith("upstream_"))
"""What a provider is to blame for. Our own hooks and a client's mistakes are not."""


@dataclass(frozen=True, slots=True)
class Burn:
    """An error budget that is spent `factor` times as fast as it would last."""

    severity: Severity
    factor: float
    long: str
    short: str
    hold: str


BURNS: Final = (
    Burn("page", 14.4, "1h", "5m", "2m"),
    Burn("page", 6, "6h", "30m", "15m"),
    Burn("ticket", 3, "1d", "2h", "1h"),
    Burn("ticket", 1, "3d", "6h", "3h"),
)
WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SLOW_WINDOWS: Final = ("2h", "6h", "1d", "3d")
"""Computed less often: they change slowly and read much."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A promise about a share of the requests.

    Attributes:
        bad: the recorded share of requests that break it, as the rule is called without its window.
        counted: the recorded number of requests it is about, likewise.
    """

    alert: str
    share: float
    bad: str
    counted: str

    def threshold(self, burn: Burn) -> float:
        """Raises ValueError where even the loss of every request would not reach it."""
        threshold = round(burn.factor * (1 - self.share), 6)
        if threshold >= 1:
            raise ValueError(f"{self.alert} at {burn.factor} could never fire: {threshold}")
        return threshold


AVAILABILITY: Final = Objective(
    "CrpluginsErrorBudgetBurn", 0.99, "model:crplugins_availability_errors:ratio_rate",
    "model:crplugins_availability_requests:increase",
)  # fmt: skip
FIRST_TOKEN: Final = Objective(
    "CrpluginsTimeToFirstTokenBurn", 0.95, "model:crplugins_ttft_slow:ratio_rate",
    "model:crplugins_ttft_streams:increase",
)  # fmt: skip
FIRST_TOKEN_SECONDS: Final = 2.0
FIRST_TOKEN_CHOICES: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)


def bound(seconds: float) -> str:
    """A bucket's bound as the label `le` spells it. Raises ValueError for what is none: no share could be told."""
    if seconds not in TTFT_BUCKETS:
        raise ValueError(f"{seconds} is no bound of {TTFT.name}: {TTFT_BUCKETS}")
    return str(seconds)
