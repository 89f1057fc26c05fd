"""The page of one picture: panels of a dashboard with their data of the last minutes, as one HTML file.

`python -m grafana.picture.data overview dark PROMETHEUS MINUTES HEIGHT > page.html`
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

FOLDER: Final = Path(__file__).parents[1]
WIDTH: Final = 1360
UNIT: Final = 34
"""Pixels of one step of Grafana's grid."""

POINTS: Final = 120
CHOSEN: Final = {"job": ".+", "model": ".+", "team": ".*", "key_id": ".+", "ttft_slo": "2.0", "__rate_interval": "30s"}

PAGE: Final = """<!doctype html><meta charset="utf-8"><div id="root"></div>
<script>window.picture = {picture}</script><script src="page.js"></script>
"""


class Time:
    """The time range of the picture."""

    def __init__(self, minutes: float) -> None:
        self.end = time.time()
        self.start = self.end - minutes * 60
        self.step = (self.end - self.start) / POINTS


def page(name: str, mode: str, prometheus: str, minutes: float, rows: int) -> str:
    """`rows` of the grid are drawn."""
    board = json.loads((FOLDER / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    span = Time(minutes)
    shown = [panel for panel in board["panels"] if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= rows]
    panels = [{"panel": panel, "queries": _queries(panel, prometheus, span)} for panel in shown]
    picture = {
        "title": board["title"], "mode": mode, "width": WIDTH, "unit": UNIT, "from": span.start * 1000,
        "to": span.end * 1000, "panels": panels,
    }  # fmt: skip
    return PAGE.replace("{picture}", json.dumps(picture).replace("</", "<\\/"))


def _queries(panel: dict[str, Any], prometheus: str, span: Time) -> list[dict[str, Any]]:
    return [{"refId": each["refId"], "lines": _lines(each, prometheus, span)} for each in panel.get("targets", ())]


def _lines(target: dict[str, Any], prometheus: str, span: Time) -> list[dict[str, Any]]:
    expr = target["expr"]
    for name, value in (CHOSEN | {"__range": f"{round(span.end - span.start)}s"}).items():
        expr = re.sub(rf"\${name}\b", value, expr)
    times = [span.start + span.step * number for number in range(POINTS + 1)]
    start = span.end if target.get("instant") else span.start
    query = urlencode({"query": expr, "start": start, "end": span.end, "step": span.step})
    with urlopen(f"{prometheus}/api/v1/query_range?{query}") as response:  # noqa: S310  # the maintainer's own
        found = json.load(response)["data"]["result"]
    return [_line(each, [span.end] if target.get("instant") else times, target, span.step) for each in found]


def _line(series: dict[str, Any], times: list[float], target: dict[str, Any], step: float) -> dict[str, Any]:
    """On a fixed step, so that gaps are gaps."""
    values = {round(at / step): float(value) for at, value in series["values"]}
    found = [values.get(round(at / step)) for at in times]
    labels = series["metric"]
    legend = re.sub(r"{{(\w+)}}", lambda name: labels.get(name[1], ""), target["legendFormat"])
    return {
        "labels": labels,
        "legend": ", ".join(labels.values()) if legend == "__auto" else legend,
        "times": [at * 1000 for at in times],
        "values": [None if value is None or value != value else value for value in found],
    }


if __name__ == "__main__":
    name, mode, prometheus, minutes, rows = sys.argv[1:]
    sys.stdout.write(page(name, mode, prometheus, float(minutes), int(rows)))
