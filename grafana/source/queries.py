"""PromQL, written so that a metric or label which the code does not have ends the generation."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from crplugins.plugins.metrics.table import Spec

RATE: Final = "$__rate_interval"
"""Grafana's own: never shorter than four scrapes, so that a rate has something to go by."""

RANGE: Final = "$__range"

_LABEL = re.compile(r'(\w+)(?:=~|!~|!=|=)"')
_TARGET_LABELS: Final = {"job", "instance"}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which series are looked at.

    Attributes:
        matchers: by label; each stands wherever a metric has that label.
        apart: labels that stay apart in every sum.
    """

    matchers: Mapping[str, str]
    apart: tuple[str, ...] = ()

    def select(self, spec: Spec, *matchers: str, suffix: str = "") -> str:
        """The series of a metric. Raises ValueError for a label that it does not have."""
        known = _TARGET_LABELS | set(spec.labels) | ({"le"} if suffix == "_bucket" else set())
        for matcher in matchers:
            found = _LABEL.match(matcher)
            if found is None or found[1] not in known:
                raise ValueError(f"{spec.name}{suffix} has no label for {matcher}")
        general = [matcher for label, matcher in self.matchers.items() if label in known]
        inner = ",".join([*general, *matchers])
        return f"{spec.name}{suffix}{{{inner}}}" if inner else f"{spec.name}{suffix}"

    def rate(
        self, spec: Spec, *matchers: str, by: Iterable[str] = (), window: str = RATE, suffix: str | None = None
    ) -> str:
        """Per second: of a counter, or of a histogram's observations."""
        ending = _ending(spec, suffix)
        return f"{self._sum(spec, by, ending)} (rate({self.select(spec, *matchers, suffix=ending)}[{window}]))"

    def increase(self, spec: Spec, *matchers: str, by: Iterable[str] = (), window: str = RANGE) -> str:
        ending = _ending(spec, None)
        return f"{self._sum(spec, by, ending)} (increase({self.select(spec, *matchers, suffix=ending)}[{window}]))"

    def quantile(
        self, q: float, spec: Spec, *matchers: str, by: Iterable[str] = (), window: str = RATE, over: str = "rate"
    ) -> str:
        selected = self.select(spec, *matchers, suffix="_bucket")
        return f"histogram_quantile({q}, {self._sum(spec, [*by, 'le'], '_bucket')} ({over}({selected}[{window}])))"

    def gauge(self, spec: Spec, *matchers: str, by: Iterable[str] = (), how: str = "sum") -> str:
        """How gauges of several processes become one: `sum`, or `max` of what all of them read from one place."""
        return f"{how}{self._sum(spec, by, '').removeprefix('sum')} ({self.select(spec, *matchers)})"

    def _sum(self, spec: Spec, by: Iterable[str], suffix: str) -> str:
        labels = [*self.apart, *by]
        unknown = set(labels) - _TARGET_LABELS - set(spec.labels) - ({"le"} if suffix == "_bucket" else set())
        if unknown:
            raise ValueError(f"{spec.name}{suffix} has no label {', '.join(sorted(unknown))}")
        return f"sum by ({', '.join(labels)})" if labels else "sum"


def _ending(spec: Spec, suffix: str | None) -> str:
    return suffix if suffix is not None else "_count" if spec.kind == "histogram" else ""


def share(part: str, whole: str) -> str:
    """Of two sums, between 0 and 1; 0 where the part has no series yet, nothing where the whole is 0."""
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def any_of(label: str, values: Iterable[str], *, negated: bool = False) -> str:
    """A matcher for several values."""
    return f'{label}{"!~" if negated else "=~"}"{"|".join(values)}"'
