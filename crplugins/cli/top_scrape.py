"""The metrics of a running gateway, scraped as Prometheus would."""

import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from crplugins.cli.refused import Refused
from crplugins.plugins.metrics.table import BUILD_INFO

TIMEOUT: Final = 10.0
_ACCEPT: Final = "text/plain; version=0.0.4"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a gateway showed at one moment, by a clock in seconds that only has to go on."""

    at: float
    samples: Mapping[str, list[tuple[Labels, float]]]

    @classmethod
    def of(cls, at: float, text: str) -> "Scrape":
        """Raises ValueError for what is no exposition of Prometheus."""
        samples: dict[str, list[tuple[Labels, float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        return cls(at, samples)

    def labels(self, name: str) -> Labels:
        """Of the first sample of this name."""
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


def scrape(url: str, token: str | None, clock: Callable[[], float]) -> Scrape:
    """Follows no redirect, which could carry the token elsewhere. Raises `Refused`."""
    status, text = _get(url, {"accept": _ACCEPT} | ({"authorization": f"Bearer {token}"} if token else {}))
    if status == 401:
        raise Refused(f"{url} wants the metrics token: give --token, or the configuration of the gateway")
    if status != 200:
        raise Refused(f"{url} answers {status}; metrics are where the configuration has them: metrics: {{path: ...}}")
    try:
        found = Scrape.of(clock(), text)
    except ValueError:
        raise Refused(f"what {url} answers are no metrics") from None
    if BUILD_INFO.name not in found.samples:
        raise Refused(f"what {url} answers are no metrics of crplugins")
    return found


def _get(url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    try:
        connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""), headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise Refused(f"no gateway answers at {url}: {_reason(error)}") from None
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None) -> HTTPConnection:
    if scheme == "https":
        return HTTPSConnection(host, port, timeout=TIMEOUT, context=ssl.create_default_context())
    return HTTPConnection(host, port, timeout=TIMEOUT)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def quantile(q: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """As Prometheus estimates it, from cumulative counts by upper bound; None without observations."""
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
