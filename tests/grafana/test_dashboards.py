"""The dashboards: fresh, without mistakes, and mistakes in them are found."""

import copy
import json

import pytest

from crplugins.plugins.metrics.table import TTFT
from grafana.source.files import FOLDER, generated
from grafana.source.queries import Scope
from tests.grafana.files import BOARDS, Board, board, panels, variables
from tests.grafana.lint import problems


def test_the_committed_files_are_what_the_source_makes():
    stale = [path for path, text in generated() if (FOLDER / path).read_text() != text]
    assert not stale, "run: python -m grafana.source"


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_has_no_mistakes(name):
    assert problems(board(name)) == []


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_for_grafana_11_and_later_and_keeps_its_address(name):
    assert board(name)["schemaVersion"] == 42
    assert board(name)["uid"] == f"crplugins-{name}"


def test_the_overview_offers_thresholds_for_the_first_token_that_the_histogram_knows():
    slo = variables(board("overview"))["ttft_slo"]
    assert slo["current"]["value"] == "2.0"
    assert [option["value"] for option in slo["options"]] == slo["query"].split(",")


@pytest.mark.parametrize("matcher", ['team="search"', 'le="2.0"', "model"])
def test_a_query_for_a_label_that_a_metric_does_not_have_is_not_generated(matcher):
    with pytest.raises(ValueError, match="has no label"):
        Scope({}).select(TTFT, matcher)
    with pytest.raises(ValueError, match="has no label key_id"):
        Scope({}).rate(TTFT, by=("key_id",))


OVERVIEW = board("overview")


def in_text(old: str, new: str):
    """A mistake anywhere in the dashboard's text, where it occurs first."""

    def mutate(of: Board) -> Board:
        text = json.dumps(of)
        assert json.dumps(old)[1:-1] in text
        return json.loads(text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1], 1))

    return mutate


def in_panel(name: str, **changes: object):
    def mutate(of: Board) -> Board:
        changed = copy.deepcopy(of)
        next(panel for panel in panels(changed) if panel.title == name).json.update(changes)
        return changed

    return mutate


def in_board(**changes: object):
    return lambda of: of | changes


MISTAKES = {
    "a metric renamed": in_text("crplugins_time_to_first_token_seconds_bucket{", "crplugins_ttft_seconds_bucket{"),
    "a metric of another suffix": in_text("crplugins_overhead_seconds_bucket{", "crplugins_overhead_seconds{"),
    "a fixed window": in_text("[$__rate_interval]", "[5m]"),
    "a typo in a label": in_text('outcome="ok"', 'outcom="ok"'),
    "a typo in a label's value": in_text('outcome="server_error"', 'outcome="server_eror"'),
    "an error type that does not exist": in_text("upstream_5xx", "upstream_500"),
    "a typo in a legend": in_text("{{model}} p95", "{{modle}} p95"),
    "a legend of a label that is summed away": in_text("sum by (error_type, code)", "sum by (error_type)"),
    "an unknown variable": in_text("$model", "$modell"),
    "no job": in_text('job=~"$job",', ""),
    "no key": in_text(',key_id=~"$key_id"', ""),
    "broken PromQL": in_text("histogram_quantile(0.95, ", "histogram_quantile(0.95 "),
    "an unguarded division": in_text("> 0)", ")"),
    "one data source of one installation": in_text("${datasource}", "PBFA97CFB590B2093"),
    "a counter without its rate": in_text(
        'sum (rate(crplugins_requests_total{job=~"$job",model=~"$model",key_id=~"$key_id"}[$__rate_interval]))',
        'sum (crplugins_requests_total{job=~"$job",model=~"$model",key_id=~"$key_id"})',
    ),
    "a gauge with a rate": in_text(
        'sum (crplugins_requests_in_flight{job=~"$job"})',
        'sum (rate(crplugins_requests_in_flight{job=~"$job"}[$__range]))',
    ),
    "a threshold between two buckets": in_text("0.5,1.0,2.0", "0.5,1.2,2.0"),
    "an editable dashboard": in_board(editable=True),
    "no way to the other dashboard": in_board(links=[]),
    "a legend that is cut": in_panel("First token", options={"legend": {"placement": "bottom", "displayMode": "list"}}),
    "a narrow chart": in_panel("Duration", gridPos={"x": 0, "y": 22, "w": 6, "h": 8}),
    "no description": in_panel("Requests", description=""),
    "no unit": in_panel("Requests", fieldConfig={"defaults": {}, "overrides": []}),
    "a title twice": in_panel("Requests", title="Spend"),
    "two panels in one place": in_panel("Requests", gridPos={"x": 3, "y": 1, "w": 3, "h": 4}),
    "a panel off the grid": in_panel("Requests", gridPos={"x": 22, "y": 100, "w": 3, "h": 4}),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_dashboard_is_found(mistake):
    assert problems(mistake(OVERVIEW))
