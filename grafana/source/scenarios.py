"""What alerts are tried on: series as they would be scraped, and which alerts fire at which moment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crplugins.plugins.metrics.table import Spec

INTERVAL: Final = "1m"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Firing:
    """Which alerts of one name fire `at` a moment: exactly those with these labels, none if there are none.

    Attributes:
        window: only those about this window.
    """

    at: str
    alert: str
    labels: tuple[Labels, ...] = ()
    window: str | None = None

    def test(self) -> dict[str, Any]:
        """As promtool has it: `ALERTS` is the series that Prometheus makes of what fires."""
        name = f'alertname="{self.alert}",alertstate="firing"'
        window = f',window="{self.window}"' if self.window else ""
        samples = [
            {
                "labels": "ALERTS" + _selector({"alertname": self.alert, "alertstate": "firing"} | dict(labels)),
                "value": 1,
            }
            for labels in self.labels
        ]
        return {"expr": f"ALERTS{{{name}{window}}}", "eval_time": self.at, "exp_samples": samples}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A test: `series` by selector, in promtool's notation, one value a minute."""

    name: str
    series: Mapping[str, str]
    firing: tuple[Firing, ...] = field(default=())

    def test(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "interval": INTERVAL,
            "input_series": [{"series": series, "values": values} for series, values in self.series.items()],
            "promql_expr_test": [firing.test() for firing in self.firing],
        }


def series(spec: Spec, suffix: str = "", **labels: str) -> str:
    """The selector of one series. Raises ValueError for labels that the metric does not have."""
    wanted = set(spec.labels) | ({"le"} if suffix == "_bucket" else set())
    if set(labels) - {"instance"} != wanted:
        raise ValueError(f"{spec.name}{suffix} has the labels {sorted(wanted)}")
    return f"{spec.name}{suffix}" + _selector({"instance": "a:4000", "job": "crplugins"} | labels)


def _selector(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def growing(per_minute: float, minutes: int, start: float = 0) -> str:
    """A counter."""
    return f"{start:.15g}+{per_minute:.15g}x{minutes}"


def standing(value: float, minutes: int) -> str:
    return f"{value:g}x{minutes}"


def each(severity: str, name: str, values: Iterable[str], **labels: str) -> tuple[Labels, ...]:
    """The labels of one alert for each value of the label `name`."""
    return tuple({"job": "crplugins", "severity": severity, name: value} | labels for value in values)
