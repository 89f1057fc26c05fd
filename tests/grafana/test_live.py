"""The dashboards on a real Prometheus that scrapes a real gateway under a mixed load.

`LIVE_SECONDS=90 pytest tests/grafana/test_live.py` loads it for longer.
"""

import asyncio
import os
import re
import time
from contextlib import AsyncExitStack
from typing import Any, get_args

import pytest

from crplugins.core.exchange import AttemptKind
from crplugins.testing import FakeProvider
from grafana.source.specs import SPECS
from tests.grafana.files import BOARDS, ONLY_WHERE_ASKED_FOR, Panel, annotations, board, panels, rules, tool, variables
from tests.grafana.live_gateway import LiveGateway, Load
from tests.grafana.live_prometheus import LivePrometheus, Series
from tests.ports import free_port

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("LIVE_SECONDS", "12"))
CHOSEN = {"job": ".+", "model": ".+", "team": ".*", "key_id": ".+", "ttft_slo": "2.0", "__rate_interval": "15s"}
ABOVE_ONE = {"Spent by the end of the period"}
"""Shares of what can be exceeded."""

ROUNDING = 1e-9


async def test_every_query_of_the_dashboards_has_finite_data_under_a_mixed_load(tmp_path, blockbuster):
    tool("prometheus")
    blockbuster.deactivate()  # files are written here, while nothing is measured
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(FakeProvider())
        gateway = LiveGateway(tmp_path, provider, free_port())
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        target = gateway.url.removeprefix("http://")
        prometheus = await stack.enter_async_context(LivePrometheus(tmp_path, target, free_port()))
        async with asyncio.timeout(30):
            while not await prometheus.label_values("job", "crplugins_build_info"):  # noqa: ASYNC110
                # It looks for targets every five seconds.
                await asyncio.sleep(0.1)
        began = time.time()
        load = Load(gateway.url)
        running = asyncio.create_task(load.run(SECONDS))
        await asyncio.sleep(SECONDS / 3)
        await gateway.stop()
        await gateway.start()
        await running
        await asyncio.sleep(1.5)  # for the last scrape
        assert {200, 400, 401, 404, 429, 502} <= set(load.statuses), load.statuses
        seen = Seen(prometheus, began, time.time())
        problems = [
            *await seen.names(),
            *await seen.attempts(),
            *await seen.rules(),
            *[problem for name in BOARDS for problem in await seen.board(name)],
        ]
    assert not problems, "\n".join(problems)


class Seen:
    """What Prometheus has seen between two moments."""

    def __init__(self, prometheus: LivePrometheus, began: float, ended: float) -> None:
        self._prometheus, self._began, self._ended = prometheus, began, ended

    async def names(self) -> list[str]:
        """Every metric of the tables and no other."""
        scraped = {
            re.sub(r"_(bucket|count|sum)$", "", name)
            for name in await self._prometheus.label_values("__name__")
            if name.startswith("crplugins_")
        }
        expected = {spec.name for spec in SPECS} - ONLY_WHERE_ASKED_FOR
        return [f"{name}: scraped or documented, not both" for name in sorted(scraped ^ expected)]

    async def attempts(self) -> list[str]:
        """Providers were called in every way there is."""
        kinds = await self._prometheus.label_values("kind", "crplugins_upstream_attempts_total")
        return [f"no {kind} attempt" for kind in get_args(AttemptKind) if kind not in kinds]

    async def rules(self) -> list[str]:
        """Every rule can be computed; a recorded series has values."""
        found = []
        for rule in (*rules("recording"), *rules("alerts")):
            series = await self._prometheus.instant(rule["expr"], self._ended)
            if "record" in rule and not any(each.finite for each in series):
                found.append(f"{rule['record']}: no data")
        return found

    async def board(self, name: str) -> list[str]:
        of = board(name)
        found = [f"{name}: {each}" for each in await self._variables(variables(of))]
        for annotation in annotations(of):
            series = await self._ask_range(annotation["expr"], self._began)
            found += [f"{name}: {annotation['name']}: {each}" for each in _empty(series)]
        for panel in panels(of):
            found += [f"{name}: {panel.title}: {each}" for each in await self._panel(panel)]
        return found

    async def _variables(self, of: dict[str, dict[str, Any]]) -> list[str]:
        found = []
        for name, variable in of.items():
            if variable["type"] != "query":
                continue
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
            values = await self._prometheus.label_values(label, _chosen(selector, self._length))
            if not values:
                found.append(f"${name} has no values")
        return found

    async def _panel(self, panel: Panel) -> list[str]:
        found = []
        for target in panel.json["targets"]:
            if target.get("instant"):
                series = await self._prometheus.instant(_chosen(target["expr"], self._length), self._ended)
            else:
                series = await self._ask_range(target["expr"], self._ended - 8)
            legend = re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))
            found += [f"{target['refId']}: {each}" for each in (*_empty(series), *_wrong(panel, series, legend))]
        return found

    async def _ask_range(self, expression: str, start: float) -> list[Series]:
        return await self._prometheus.range(_chosen(expression, self._length), start, self._ended, 1)

    @property
    def _length(self) -> str:
        return f"{round(self._ended - self._began)}s"


def _chosen(expression: str, length: str) -> str:
    """As Grafana sends it with all values chosen."""
    for name, value in (CHOSEN | {"__range": length}).items():
        expression = re.sub(rf"\${name}\b", value, expression)
    assert "$" not in expression, expression
    return expression


def _empty(series: list[Series]) -> list[str]:
    if not any(each.finite for each in series):
        return ["no data"]
    return ["infinite" for each in series for value in each.values if value in (float("inf"), float("-inf"))][:1]


def _wrong(panel: Panel, series: list[Series], legend: list[str]) -> list[str]:
    found = []
    values = [value for each in series for value in each.finite]
    if panel.json["fieldConfig"]["defaults"].get("unit") == "percentunit" and panel.title not in ABOVE_ONE:
        outside = [value for value in values if not 0 <= value <= 1 + ROUNDING]
        found += [f"shares of {min(outside)} to {max(outside)}"] if outside else []
    if any(value < 0 for value in values):
        found.append("negative")
    found += [f"no label {label}" for label in legend if not any(label in each.labels for each in series)]
    return found
