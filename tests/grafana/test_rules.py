"""Rules and alerts: without mistakes, accepted by promtool, and every alert tried both ways."""

import re
from concurrent.futures import ThreadPoolExecutor
from shutil import copy

import pytest
import yaml

from crplugins.plugins.metrics.table import TTFT_BUCKETS
from grafana.source.burn_scenarios import burn_scenarios
from grafana.source.objectives import AVAILABILITY, BURNS, FIRST_TOKEN, Burn, Objective, bound
from grafana.source.other_scenarios import other_scenarios
from tests.grafana import promql
from tests.grafana.files import FOLDER, promtool, rule_file, rules
from tests.grafana.lint import of_expression

ALERTS = rules("alerts")
RECORDED = {rule["record"]: promql.labels(rule["expr"], promql.labels_of_series()) for rule in rules("recording")}
KNOWN = promql.labels_of_series(RECORDED)


@pytest.mark.parametrize("rule", [*rules("recording"), *ALERTS], ids=lambda rule: rule.get("record") or rule["alert"])
def test_a_rule_has_no_mistakes(rule):
    assert list(of_expression(rule["expr"], recorded=RECORDED, matched=False)) == []


@pytest.mark.parametrize("rule", [*rules("recording"), *ALERTS], ids=lambda rule: rule.get("record") or rule["alert"])
def test_a_rule_keeps_gateways_apart(rule):
    assert all("job" in kept for kept in promql.aggregations(rule["expr"]))
    assert "job" in promql.labels(rule["expr"], KNOWN)


def test_a_recorded_series_is_called_by_its_labels_and_window():
    for rule in rules("recording"):
        level, _, rest = rule["record"].partition(":")
        assert RECORDED[rule["record"]] == {"job", level}
        window = re.search(r"(\d+[mhd])$", rest)[1]
        assert set(re.findall(r"\[(\w+)\]", rule["expr"])) == {window}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where(rule):
    assert rule["labels"]["severity"] in ("page", "ticket")
    annotations = rule["annotations"]
    used = set(re.findall(r"\$labels\.(\w+)", annotations["summary"] + annotations["description"]))
    assert used <= promql.labels(rule["expr"], KNOWN)
    assert "{{" in annotations["summary"]
    chosen = re.search(r"\?var-(\w+)=\{\{ \$labels\.(\w+) \| urlquery \}\}$", annotations["dashboard_url"])
    assert chosen is None or (chosen[1] == chosen[2] and chosen[1] in promql.labels(rule["expr"], KNOWN))
    assert annotations["description"].endswith(".")


def test_alerts_of_one_name_differ_in_their_labels():
    seen = [(rule["alert"], tuple(sorted(rule["labels"].items()))) for rule in ALERTS]
    assert len(set(seen)) == len(seen)


def test_every_alert_is_tried_both_ways():
    tried: dict[tuple[str, str | None], set[bool]] = {}
    for scenario in (*burn_scenarios(), *other_scenarios()):
        for firing in scenario.firing:
            tried.setdefault((firing.alert, firing.window), set()).add(bool(firing.labels))
    assert tried == {(rule["alert"], rule["labels"].get("window")): {True, False} for rule in ALERTS}


def test_a_burn_that_can_never_be_reached_is_not_generated():
    with pytest.raises(ValueError, match="could never fire"):
        Objective("Bad", 0.9, "bad", "counted").threshold(Burn("page", 14.4, "1h", "5m", "2m"))
    assert [AVAILABILITY.threshold(burn) for burn in BURNS] == [0.144, 0.06, 0.03, 0.01]
    assert [FIRST_TOKEN.threshold(burn) for burn in BURNS] == [0.72, 0.3, 0.15, 0.05]


def test_a_time_between_two_buckets_is_no_objective():
    assert [bound(seconds) for seconds in TTFT_BUCKETS][5] == "1.0"
    with pytest.raises(ValueError, match="is no bound"):
        bound(1.2)


def test_a_recorded_name_is_no_name_of_a_metric():
    assert all(":" in name for name in RECORDED)


def test_prometheus_accepts_every_file_of_the_folder_as_rules(tmp_path):
    """As `rule_files: [rules/*.yaml]` reads them: it starts with none if one of them is anything else."""
    files = sorted((FOLDER / "rules").glob("*.yaml"))
    assert [file.name for file in files] == ["alerts.yaml", "recording.yaml"]
    done = promtool("check", "rules", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "prometheus.yaml").write_text(f"rule_files: ['{FOLDER}/rules/*.yaml']\n")
    whole = promtool("check", "config", tmp_path / "prometheus.yaml")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_every_alert_fires_when_it_should_and_only_then(tmp_path):
    """Every other one of the committed tests beside the rest: they take ten seconds one after the other."""
    document = rule_file("tests/rules")
    folder = tmp_path / "tests"
    folder.mkdir()
    for name in document["rule_files"]:
        copy(FOLDER / "rules" / "tests" / name, folder / name)
    for half in (0, 1):
        (folder / f"{half}.yaml").write_text(yaml.safe_dump({**document, "tests": document["tests"][half::2]}))
    with ThreadPoolExecutor() as threads:
        for done in threads.map(lambda half: promtool("test", "rules", folder / f"{half}.yaml"), (0, 1)):
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_are_of_every_group():
    groups = [group["name"] for name in ("recording", "alerts") for group in rule_file(name)["groups"]]
    assert rule_file("tests/rules")["group_eval_order"] == groups
