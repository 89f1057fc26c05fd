"""Code, panels, rules and runbook name the same things: nothing is shown that does not exist, or exists unseen."""

import re

import pytest
from typer.testing import CliRunner

from crplugins.cli.app import COMMANDS as COMMAND_MODULES
from crplugins.cli.app import command_line
from crplugins.core.outcome import ERROR_TYPES
from grafana.source.specs import SPECS
from tests.grafana import promql
from tests.grafana.files import BOARDS, FOLDER, ON_NO_PANEL, annotations, board, panels, rules
from tests.grafana.lint import of_expression, plain

RUNBOOK = (FOLDER / "RUNBOOK.md").read_text()


def of_panels() -> set[str]:
    return {
        name
        for each in BOARDS
        for panel in panels(board(each))
        for expression, _ in panel.queries
        for name in promql.names(plain(expression))
    }


def of_rules() -> set[str]:
    return {name for rule in (*rules("recording"), *rules("alerts")) for name in promql.names(rule["expr"])}


def base(name: str) -> str:
    return re.sub(r"_(bucket|count|sum)$", "", name)


def test_every_metric_is_on_a_panel_or_is_an_exception():
    shown = {base(name) for name in of_panels()}
    assert {spec.name for spec in SPECS} - shown == ON_NO_PANEL


def test_every_name_of_a_panel_or_rule_is_a_metric():
    known = {spec.name for spec in SPECS} | set(promql.OTHER_SERIES) | {rule["record"] for rule in rules("recording")}
    assert {base(name) for name in of_panels() | of_rules()} <= known


def test_every_recorded_series_that_an_alert_reads_is_recorded():
    recorded = {rule["record"] for rule in rules("recording")}
    read = {name for rule in rules("alerts") for name in promql.names(rule["expr"]) if ":" in name}
    assert read <= recorded


def test_every_metric_of_the_code_is_documented_with_its_labels():
    document = (FOLDER / "METRICS.md").read_text()
    for spec in SPECS:
        row = f"| `{spec.name}` | {spec.kind} | {', '.join(spec.labels)} | {spec.help} |"
        assert row in document
    for kind in filter(None, ERROR_TYPES):
        assert f"`{kind}`" in document


def test_every_alert_has_a_section_in_the_runbook_and_the_reverse():
    sections = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    alerts = {rule["alert"] for rule in rules("alerts")}
    assert set(sections) == alerts
    assert len(sections) == len(alerts)


def test_every_section_of_the_runbook_says_what_to_do():
    for section in RUNBOOK.split("\n## ")[1:]:
        for part in (
            "**Severity**",
            "**Means**",
            "**Users see**",
            "**Look**",
            "**Usual causes**",
            "**Do**",
            "**Silence**",
        ):
            assert part in section, (section.partition("\n")[0], part)


def test_a_section_of_the_runbook_says_how_urgent_its_alert_is():
    told = {}
    for section in RUNBOOK.split("\n## ")[1:]:
        (severity,) = re.findall(r"^\*\*Severity\*\*: (.+)\.$", section, re.MULTILINE)
        for each in severity.split("; "):
            windows = re.findall(r"`(\w+)`", each.replace("`window`", "")) or [None]
            told |= {(section.partition("\n")[0], window): each.partition(",")[0] for window in windows}
    assert told == {
        (rule["alert"], rule["labels"].get("window")): rule["labels"]["severity"] for rule in rules("alerts")
    }


COMMANDS = sorted(set(re.findall(r"`crplugins ([a-z][^`]*)`", RUNBOOK)))


def test_what_the_runbook_says_to_do_names_commands():
    named = [section for section in RUNBOOK.split("\n## ")[1:] if "`crplugins " in section.partition("**Do**")[2]]
    assert len(named) >= 15


@pytest.mark.parametrize("written", COMMANDS)
def test_a_command_of_the_runbook_exists_with_the_options_it_names(written):
    """`--help` does nothing, and is only answered if every other option of the line exists."""
    words = written.split()
    done = CliRunner().invoke(command_line(COMMAND_MODULES), [*words, "--help"], prog_name="crplugins")
    assert done.exit_code == 0, done.output
    name = re.match(r"[a-z ]+[a-z](?= [^a-z]|$)", written)
    assert done.output.startswith(f"Usage: crplugins {name[0]} ["), done.output
    assert set(re.findall(r"--[a-z-]+", written)) <= set(re.findall(r"--[a-z-]+", done.output))


def test_every_alert_leads_to_its_section():
    anchors = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules("alerts")}
    assert anchors == {rule["alert"].lower() for rule in rules("alerts")}


def test_every_query_of_the_runbook_is_without_mistakes():
    blocks = re.findall(r"```promql\n(.*?)```", RUNBOOK, re.DOTALL)
    queries = [line for block in blocks for line in block.splitlines()]
    assert len(queries) >= 3 * len({rule["alert"] for rule in rules("alerts")})
    mistakes = {
        query: [m for m in of_expression(query, matched=False) if "only its growth" not in m] for query in queries
    }
    assert not {query: found for query, found in mistakes.items() if found}


def test_links_between_the_dashboards_lead_somewhere():
    text = "".join((FOLDER / "dashboards" / f"{name}.json").read_text() for name in BOARDS)
    assert set(re.findall(r"/d/([\w-]+)\?", text)) == {board(name)["uid"] for name in BOARDS}


def test_annotations_are_alerts_and_restarts():
    for name in BOARDS:
        assert [annotation["name"] for annotation in annotations(board(name))] == ["Alerts", "Restarts"]
