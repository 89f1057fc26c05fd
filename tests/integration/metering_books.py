"""The books of a gateway side by side: the ledger's rows, its daily sums, Prometheus, and what the provider told."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from crplugins.testing import ReceivedRequest

Row = Mapping[str, Any]

TOKENS: Final = (
    "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens",
)  # fmt: skip


def read_table(path: Path, table: str) -> list[Row]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


class Scraped:
    """One scrape: the values of each sample by its labels."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append((sample.labels, sample.value))

    def by(self, name: str, *labels: str) -> Counter[tuple[str, ...]]:
        """Sums by these labels, zeros left out."""
        sums: Counter[tuple[str, ...]] = Counter()
        for values, value in self._samples.get(name, ()):
            sums[tuple(values[label] for label in labels)] += value
        return Counter({key: value for key, value in sums.items() if value})

    def total(self, name: str) -> float:
        return sum(value for _, value in self._samples.get(name, ()))


def summed(rows: Iterable[Row], measure: str, *dimensions: str | Callable[[Row], str]) -> Counter[tuple[str, ...]]:
    """Sums of one column of rows by others, zeros left out; `count` counts the rows."""
    sums: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        key = tuple(d(row) if callable(d) else str(row[d] if row[d] is not None else "") for d in dimensions)
        sums[key] += 1 if measure == "count" else row[measure] or 0
    return Counter({key: value for key, value in sums.items() if value})


def by_marker(requests: Iterable[ReceivedRequest]) -> dict[str, list[ReceivedRequest]]:
    """The provider's log by the `user` of each request, in order of arrival: a request may be asked twice."""
    found: dict[str, list[ReceivedRequest]] = {}
    for request in requests:
        if isinstance(request.json, dict) and request.json.get("user"):
            found.setdefault(request.json["user"], []).append(request)
    return found
