"""What panels look like: one function for each kind, so that all of a kind look the same."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = shapes.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The variable, never one installation's own data source."""

NOTHING: Final = "no traffic"
NONE: Final = "none"
"""Where there is traffic, and nothing of this kind."""

TILE_WIDTH: Final = 3
HALF: Final = 12
"""Of the grid: less leaves a chart no room beside its legend, and one label on its axis of time."""

LEGEND_WIDTH: Final = 260
"""Pixels: a long name of a deployment leaves its course room."""

_METRIC: Final = re.compile(r"\b(?:crplugins_\w+|up|process_\w+)\b")
_SUFFIX: Final = re.compile(r"_(?:bucket|count|sum)$")

Steps = Mapping[float, str]
"""From a value on, this colour."""

LOWEST: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and the legend of its lines, such as `{{model}} p95`."""

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """Where a click leads."""

    title: str
    url: str


def tile(
    title: str, description: str, unit: str, query: Query, *, steps: Steps | None = None, whole: bool = False
) -> Any:
    """One number, with its course behind it. `whole`: it is about the whole time range, and has no course."""
    panel = (
        described(stat.Panel(), title, description, [query])
        .unit(unit)
        .span(TILE_WIDTH)
        .height(4)
        .no_value(NOTHING)
        .mappings([not_a_number()])
        .graph_mode(shapes.BigValueGraphMode.NONE if whole else shapes.BigValueGraphMode.AREA)
        .color_mode(shapes.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps or {}))
    )
    return panel.with_target(target_of(query, 0, instant=whole))


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    stacked: bool = False,
    steps: Steps | None = None,
    top: float | None = None,
    nothing: str = NOTHING,
) -> Any:
    """Courses over time. `steps` are drawn as lines across; `top` is where a share ends.

    Nobody knows how many models or keys there will be: where lines are named by a label, the legend is a table at the
    side that scrolls, with the present values, the highest first. Below the chart it would be cut after a few.
    """
    panel = (
        described(timeseries.Panel(), title, description, queries)
        .unit(unit)
        .span(HALF)
        .height(8)
        .min(0)
        .no_value(nothing)
        .fill_opacity(25 if stacked else 8)
        .line_width(1)
        .show_points(shapes.VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL if stacked else shapes.StackingMode.NONE))
        .legend(_legend(at_side=any("{{" in query.legend for query in queries)))
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .thresholds(_thresholds(steps or {}))
    )
    if steps:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    if top is not None:
        panel.max(top)
    return _with_targets(panel, queries)


def bars(
    title: str, description: str, unit: str, query: Query, *, width: int = HALF, steps: Steps | None = None,
    top: float | None = None, link: Link | None = None,
) -> Any:  # fmt: skip
    """The present values, one bar each."""
    panel = (
        described(bargauge.Panel(), title, description, [query])
        .unit(unit)
        .span(width)
        .height(8)
        .min(0)
        .no_value(NOTHING)
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps or {}))
    )
    if top is not None:
        panel.max(top)
    if link is not None:
        panel.data_links([builders.DashboardLink(link.title).url(link.url)])
    return panel.with_target(target_of(query, 0, instant=True))


def heat(title: str, description: str, unit: str, query: Query) -> Any:
    """How a histogram's observations spread. The query keeps `le`."""
    panel = (
        described(heatmap.Panel(), title, description, [query])
        .span(HALF)
        .height(8)
        .unit(unit)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(heatmap.YAxisConfig().unit(unit))
    )
    return panel.with_target(target_of(query, 0).format(PromQueryFormat.HEATMAP))


def not_a_number() -> models.SpecialValueMap:
    """A quantile of nothing."""
    result = models.ValueMappingResult(text="-", index=0)
    return models.SpecialValueMap(
        options=models.DashboardSpecialValueMapOptions(match=models.SpecialValueMatch.NA_N, result=result)
    )


def described(panel: Any, title: str, description: str, queries: Sequence[Query]) -> Any:
    """With the names of its metrics at the end, so that who looks at the panel can go on in a query of their own."""
    names = dict.fromkeys(_SUFFIX.sub("", name) for query in queries for name in _METRIC.findall(query.expr))
    metrics = ", ".join(f"`{name}`" for name in names)
    return panel.title(title).description(f"{description}\n\n{metrics}").datasource(SOURCE)


def _with_targets(panel: Any, queries: Sequence[Query]) -> Any:
    for number, query in enumerate(queries):
        panel.with_target(target_of(query, number))
    return panel


def target_of(query: Query, number: int, *, instant: bool = False) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(letter(number)).datasource(SOURCE)
    target = target.instant() if instant else target.range()
    if query.exemplars:
        target.exemplar(exemplar=True)
    return target.legend_format(query.legend or "__auto")


def letter(number: int) -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number]


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    """Green below the first step, unless a step at minus infinity says otherwise."""
    first = models.Threshold(value=None, color=steps.get(LOWEST, "green"))
    rest = [models.Threshold(value=value, color=color) for value, color in steps.items() if value != LOWEST]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps([first, *rest])


def _legend(*, at_side: bool) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(show_legend=True)
    if not at_side:
        return legend.display_mode(shapes.LegendDisplayMode.LIST).placement(shapes.LegendPlacement.BOTTOM)
    legend.display_mode(shapes.LegendDisplayMode.TABLE).placement(shapes.LegendPlacement.RIGHT).width(LEGEND_WIDTH)
    return legend.calcs(["lastNotNull"]).sort_by("Last *").sort_desc(sort_desc=True)
