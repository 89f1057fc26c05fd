"""What is wrong with a dashboard: sentences, none for a good one. Mistakes that cannot be seen until somebody looks."""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from crplugins.core.outcome import ERROR_TYPES, OUTCOMES
from crplugins.plugins.metrics.bundles import REASONS
from crplugins.plugins.metrics.table import TTFT_BUCKETS
from grafana.source.specs import SPECS
from tests.grafana import promql
from tests.grafana.files import Board, Panel, annotations, panels, variables

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE, RANGE = 61.0, 62.0
WINDOWS = {"$__rate_interval": f"{RATE:.0f}s", "$__range": f"{RANGE:.0f}s"}
FIXED = {
    "Error budget burn": {300.0, 3600.0},
    "Streams too late": {300.0, 3600.0},
    "Spent by the end of the period": {3600.0},
}
"""Panels about a time of their own."""

OVER_TIME = {"rate", "increase", "resets"}
VALUES = {
    "outcome": set(OUTCOMES.values()),
    "error_type": set(ERROR_TYPES),
    "kind": {"initial", "retry", "fallback"},
    "reason": set(REASONS),
    "stream": {"true", "false"},
}
"""Labels whose values are closed sets in the code."""

CHAIN = ["datasource", "job", "model"]
OF_SERIES = {spec.name: spec for spec in SPECS}


def problems(board: Board) -> list[str]:
    found = [*_of_board(board), *_of_variables(board), *_of_annotations(board)]
    for panel in panels(board):
        found += [f"{panel.title}: {problem}" for problem in _of_panel(panel)]
    return found


def of_expression(
    expression: str,
    *,
    recorded: promql.Recorded = promql.NOTHING,
    matched: bool = True,
    windows: set[float] | None = None,
) -> Iterator[str]:
    """`matched`: every series is chosen by the variables of its labels. `windows` are allowed ones; None for all."""
    known = promql.labels_of_series(recorded)
    for read in promql.reads(expression):
        if read.name not in known:
            yield f"{read.name} does not exist"
            continue
        if read.matched - known[read.name]:
            yield f"{read.name} has no label {', '.join(sorted(read.matched - known[read.name]))}"
        if matched:
            yield from _unmatched(read, known[read.name])
        if windows is not None and read.window is not None and read.window not in windows:
            yield f"{read.name} is read over a fixed window"
        yield from _of_kind(read, promql.gauges(recorded))
        yield from _of_values(read)
    yield from (f"may divide by 0: {divisor}" for divisor in promql.unguarded_divisions(expression))


def _unmatched(read: promql.Read, labels: frozenset[str]) -> Iterator[str]:
    wanted = {"job", *({"model", "key_id"} & labels)} if read.name.startswith("crplugins_") else {"job"}
    if wanted - read.matched:
        yield f"{read.name} is not chosen by {', '.join(sorted(wanted - read.matched))}"


def _of_kind(read: promql.Read, gauges: frozenset[str]) -> Iterator[str]:
    if read.name in gauges:
        if read.function in OVER_TIME:
            yield f"{read.name} is a gauge, and has no {read.function}"
    elif read.function not in OVER_TIME:
        yield f"{read.name} is a counter: only its growth means something"


def _of_values(read: promql.Read) -> Iterator[str]:
    for label, operator, value in read.matchers:
        if label == "le" and value != "$ttft_slo" and float(value) not in TTFT_BUCKETS:
            yield f"{value} is no bound of a bucket"
        if label not in VALUES or value.startswith("$"):
            continue
        values = value.split("|") if operator in ("Re", "NotRe") else [value]
        if set(values) - VALUES[label]:
            yield f"{label} is never {', '.join(sorted(set(values) - VALUES[label]))}"


def _of_panel(panel: Panel) -> Iterator[str]:
    json = panel.json
    if json.get("datasource") != SOURCE or any(target.get("datasource") != SOURCE for target in json["targets"]):
        yield "has a data source of its own"
    if not _units(panel):
        yield "has no unit"
    if json["type"] == "timeseries":
        yield from _of_room(panel)
    description = json.get("description", "")
    for expression, legend in panel.queries:
        yield from _of_query(panel, expression, legend)
        missing = [name for name in _metrics(expression) if f"`{name}`" not in description]
        yield from (f"{name} is not in the description" for name in missing)


def _of_room(panel: Panel) -> Iterator[str]:
    """What can be seen only where it is drawn: a legend that is cut, and one single label on the axis of time."""
    legend = panel.json["options"]["legend"]
    if any("{{" in shown for _, shown in panel.queries):
        if (legend["placement"], legend["displayMode"]) != ("right", "table"):
            yield "has a legend below it, which is cut after a few models"
    elif len(panel.queries) > 6:
        yield "has more lines than fit on the legend below it"
    if panel.json["gridPos"]["w"] < 12:
        yield "is narrow: its axis of time has one label"


def _of_query(panel: Panel, expression: str, legend: str) -> Iterator[str]:
    try:
        query = plain(expression)
        windows = {RATE, RANGE} | FIXED.get(panel.title, set())
        yield from of_expression(query, windows=windows)
        shown = set(re.findall(r"{{\s*(\w+)\s*}}", legend))
        lost = shown - promql.labels(query, promql.labels_of_series())
        if lost:
            yield f"the legend's {', '.join(sorted(lost))} is no label of the result"
    except ValueError as error:
        yield f"is no PromQL: {error}"


def plain(expression: str) -> str:
    for name, window in WINDOWS.items():
        expression = expression.replace(f"[{name}]", f"[{window}]")
    return expression


def _metrics(expression: str) -> Iterator[str]:
    for spec in SPECS:
        if re.search(rf"\b{spec.name}(?:_bucket|_count|_sum)?\b", expression):
            yield spec.name


def _units(panel: Panel) -> bool:
    if panel.json["type"] != "table":
        return bool(panel.json["fieldConfig"]["defaults"].get("unit"))
    units = [
        p for override in panel.json["fieldConfig"]["overrides"] for p in override["properties"] if p["id"] == "unit"
    ]
    return len(units) == len(panel.queries)


def _of_board(board: Board) -> Iterator[str]:
    if board.get("editable") is not False:
        yield "is editable: changes in the browser would be lost"
    if not board.get("uid") or not board.get("refresh") or board.get("graphTooltip") != 1:
        yield "has no uid, no refresh or no shared crosshair"
    titles = [panel.title for panel in panels(board)]
    yield from (f"{title}: two panels are called so" for title in {t for t in titles if titles.count(t) > 1})
    ids = [each["id"] for each in board["panels"]]
    if len(set(ids)) < len(ids):
        yield "panels share an id"
    yield from _of_grid([(each["title"], each["gridPos"]) for each in board["panels"]])
    yield from _of_links(board)


def _of_grid(places: list[tuple[str, Mapping[str, int]]]) -> Iterator[str]:
    for title, place in places:
        if place["x"] + place["w"] > 24:
            yield f"{title}: reaches beyond the grid"
    for (title, one), (_, other) in combinations(places, 2):
        if _overlap(one, other, "x", "w") and _overlap(one, other, "y", "h"):
            yield f"{title}: covers another panel"


def _overlap(one: Mapping[str, int], other: Mapping[str, int], start: str, size: str) -> bool:
    return one[start] < other[start] + other[size] and other[start] < one[start] + one[size]


def _of_links(board: Board) -> Iterator[str]:
    if not any(link["type"] == "dashboards" and link["keepTime"] and link["includeVars"] for link in board["links"]):
        yield "does not lead to the other dashboard"


def _of_variables(board: Board) -> Iterator[str]:
    known = variables(board)
    if list(known)[:3] != CHAIN or "key_id" not in known:
        yield f"the variables are {', '.join(known)}"
    text = str([board["panels"], board["annotations"], [each.get("query") for each in known.values()]])
    used = set(re.findall(r"\$\{?(\w+)", text)) - {
        "__rate_interval",
        "__range",
        "__url_time_range",
        "__value",
        "__field",
    }
    yield from (f"${name} is not defined" for name in used - set(known))
    yield from (f"${name} is not used" for name in set(known) - used)
    for name, variable in known.items():
        yield from (f"${name}: {problem}" for problem in _of_variable(variable))


def _of_variable(variable: Mapping[str, Any]) -> Iterator[str]:
    if variable["type"] == "custom":
        bounds = [float(each) for each in variable["query"].split(",")]
        yield from (f"{bound} is no bound of a bucket" for bound in bounds if bound not in TTFT_BUCKETS)
    if variable["type"] != "query":
        return
    if variable["datasource"] != SOURCE:
        yield "has a data source of its own"
    if variable["refresh"] != 2 or not variable["multi"] or not variable["includeAll"]:
        yield "is not asked anew, or cannot be several"
    call = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
    if call is None:
        yield "is no label_values(...)"
        return
    for read in promql.reads(call[1]):
        if read.name and call[2] not in promql.labels_of_series().get(read.name, ()):
            yield f"{read.name} has no label {call[2]}"


def _of_annotations(board: Board) -> Iterator[str]:
    for annotation in annotations(board):
        name = annotation["name"]
        if annotation["datasource"] != SOURCE:
            yield f"{name}: has a data source of its own"
        if annotation["expr"] != annotation["target"]["expr"]:
            yield f"{name}: has two queries"
        yield from (f"{name}: {p}" for p in of_expression(annotation["expr"], matched=False))
        if any("job" not in read.matched for read in promql.reads(annotation["expr"])):
            yield f"{name}: is not chosen by job"
