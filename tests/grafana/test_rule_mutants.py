"""The tests of the rules are worth something: each of these changes to a rule fails one of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.grafana.files import promtool, rule_file, rules

pytestmark = pytest.mark.slow

Rule = dict[str, Any]

BURN, LATE = "CrpluginsErrorBudgetBurn", "CrpluginsTimeToFirstTokenBurn"
BAD, SLOW = "model:crplugins_availability_errors:ratio_rate", "model:crplugins_ttft_slow:ratio_rate"

MUTANTS = {
    # alert; what becomes what else in its rule or in the recorded series that it reads; which of its tests notices, and
    # by the alert of which window: those of days take most of promtool's time
    "the fast burn's threshold up": (BURN, "ratio_rate1h > 0.144", "ratio_rate1h > 0.16", "thresholds", "1h"),
    "the fast burn's threshold down": (BURN, "> 0.144", "> 0.13", "thresholds", "1h"),
    "the slow burn's threshold up": (BURN, "> 0.01", "> 0.02", "thresholds", "3d"),
    "no short window": (BURN, f"and {BAD}5m > 0.144\n", "", "what is over", "1h"),
    "no long window": (BURN, f"{BAD}6h > 0.06\nand ", "", "a blip", "6h"),
    "no minimum of traffic": (
        BURN,
        "\nand model:crplugins_availability_requests:increase1h > 100",
        "",
        "little traffic",
        "1h",
    ),
    "the minimum of another window": (
        BURN,
        "availability_requests:increase6h",
        "availability_requests:increase1h",
        "little traffic",
        "6h",
    ),
    "clients' mistakes dilute": (
        BURN,
        'outcome=~"ok|server_error"',
        'outcome=~"ok|server_error|client_error"',
        "do not hide",
        "1h",
    ),
    "clients' mistakes burn": (
        BURN,
        'outcome="server_error"',
        'outcome=~"server_error|client_error"',
        "burn nothing",
        "1h",
    ),
    "clients that left burn": (BURN, 'outcome="server_error"', 'outcome!="ok"', "burn nothing", "1h"),
    "models are not kept apart": (BURN, "sum by (job, model)", "sum by (job)", "thresholds", "1h"),
    "a page becomes a ticket": (BURN, "severity: page", "severity: ticket", "what is over", "1h"),
    "the slow burn holds for less": (BURN, "for: 3h", "for: 1h", "only what lasts", "3d"),
    "another bucket": (LATE, 'le="2.0"', 'le="3.0"', "little traffic", "6h"),
    "fast streams burn": (LATE, "1 - sum", "sum", "thresholds", "1h"),
    "late streams' threshold": (LATE, "> 0.72", "> 0.8", "thresholds", "1h"),
    "too few streams": (LATE, "increase1h > 100", "increase1h > 10", "little traffic", "1h"),
    "a nearly spent budget, later": ("CrpluginsBudgetNearlySpent", "> 0.9", "> 0.95"),
    "a budget of nothing": ("CrpluginsBudgetNearlySpent", "> 0) > 0.9", "> 0) > 0.9 or vector(1)"),
    "budgets per instance": ("CrpluginsBudgetNearlySpent", "max by (job, key_id)", "max by (job, instance, key_id)"),
    "budgets added up": (
        "CrpluginsBudgetWillRunOut",
        "max by (job, key_id) (crplugins_budget_reset",
        "2 * max by (job, key_id) (crplugins_budget_reset",
    ),
    "a forecast past the period": ("CrpluginsBudgetWillRunOut", " - time()", ""),
    "a forecast for what is over": ("CrpluginsBudgetWillRunOut", r"\nand max.*", ""),
    "a limit that is not full": ("CrpluginsLimitSaturated", "> 0.9", "> 0.8"),
    "a limit that must overflow": ("CrpluginsLimitSaturated", "> 0.9", "> 1"),
    "refusals hide what is unmetered": (
        "CrpluginsUnmeteredTraffic",
        "ok|server_error|cancelled",
        "ok|limited|cancelled",
    ),
    "clients that left are not counted": ("CrpluginsUnmeteredTraffic", "ok|server_error|cancelled", "ok"),
    "reasons are added up": ("CrpluginsUnmeteredTraffic", "sum by (job, model, reason)", "sum by (job, model)"),
    "clients' mistakes are the provider's": ("CrpluginsUpstreamFailing", "upstream_429|", "upstream_429|upstream_4xx|"),
    "a provider that is hardly called": ("CrpluginsUpstreamFailing", r"\nand sum.*", ""),
    "half of a provider's calls": ("CrpluginsUpstreamFailing", "> 0.5", "> 0.4"),
    "timeouts are nobody's": ("CrpluginsUpstreamFailing", "upstream_timeout|", ""),
    "retries are fallbacks": ("CrpluginsFallbackInUse", 'kind="fallback"', 'kind=~"retry|fallback"'),
    "fallbacks hide themselves": ("CrpluginsFallbackInUse", "> 0.05", "> 0.1"),
    "a spool that empties": ("CrpluginsLedgerSpoolGrowing", r"\nand delta.*", ""),
    "a spool that is stuck": ("CrpluginsLedgerSpoolGrowing", ">= 0", "> 0"),
    "lost records for ever": ("CrpluginsLedgerRecordsLost", "[1h]", "[1d]"),
    "no outage": ("CrpluginsLimitStoreOutage", "> 0", "> 1"),
    "an outage of a moment": ("CrpluginsLimitStoreOutage", "for: 2m", "for: 0m"),
    "models overflow": ("CrpluginsLabelOverflow", '{label!="model"}', ""),
    "a fault of yesterday": ("CrpluginsHookErrors", "[5m]", "[1h]"),
    "another job is down": ("CrpluginsDown", '"} == 0', '.*"} == 0'.replace('="', "")),
    "nobody is missed": ("CrpluginsDown", r" or absent\(.*\)", ""),
    "down is fine": ("CrpluginsDown", "== 0 or", "== 1 or"),
}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_changed_rule_fails_its_tests(mutant, tmp_path):
    alert, old, new, scenario, window = (*mutant, "", "")[:5]
    recorded, alerts = _only(alert, window)
    pattern = re.compile(old if "\\" in old else re.escape(old))
    changed = [[_changed(rule, pattern, new) for rule in rules] for rules in (recorded, alerts)]
    assert changed != [recorded, alerts], "the mutant is no mutant"
    _write(tmp_path, *changed, _tests_of(alert, scenario, window))
    done = promtool("test", "rules", "tests.yaml", cwd=tmp_path)
    assert done.returncode != 0, "nothing has noticed"
    assert "got:" in done.stderr, done.stdout + done.stderr


def _only(alert: str, window: str = "") -> tuple[list[Rule], list[Rule]]:
    """The rules of one alert, behind the recorded series that it reads: all that a test of it evaluates."""
    alerts = [rule for rule in rules("alerts") if rule["alert"] == alert and window in rule["labels"].get("window", "")]
    read = "".join(rule["expr"] for rule in alerts)
    return [rule for rule in rules("recording") if rule["record"] in read], alerts


def _changed(rule: Rule, pattern: re.Pattern[str], new: str) -> Rule:
    """In its expression, `for` or severity."""
    changed = rule | {"expr": pattern.sub(lambda _: new, rule["expr"])}
    if "alert" in rule:
        changed["for"] = pattern.sub(lambda _: new, f"for: {rule['for']}").removeprefix("for: ")
        severity = pattern.sub(lambda _: new, f"severity: {rule['labels']['severity']}").removeprefix("severity: ")
        changed["labels"] = rule["labels"] | {"severity": severity}
    return changed


def _write(folder: Path, recorded: list[Rule], alerts: list[Rule], tests: str) -> None:
    for name, each in (("recording", recorded), ("alerts", alerts)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"groups": [{"name": name, "rules": each}]}))
    (folder / "tests.yaml").write_text(tests)


def _tests_of(alert: str, scenario: str = "", window: str = "") -> str:
    """Those about the alert whose name has `scenario` in it, and what they expect of `window`: one is enough, and much
    faster than all."""
    document = dict(rule_file("tests/rules"))
    wanted = [f'alertname="{alert}"', f'window="{window}' if window else ""]
    document["rule_files"] = ["recording.yaml", "alerts.yaml"]
    document["tests"] = []
    for each in rule_file("tests/rules")["tests"]:
        about = [t for t in each["promql_expr_test"] if all(words in t["expr"] for words in wanted)]
        if about and scenario in each["name"]:
            document["tests"].append(each | {"promql_expr_test": about})
    assert document["tests"]
    document["group_eval_order"] = ["recording", "alerts"]
    return yaml.safe_dump(document, width=10_000)


def test_what_is_left_of_the_rules_passes_without_a_change(tmp_path: Path):
    """Or else every mutant would be caught by nothing."""
    # One scenario of each window: with all rules, test_rules.py has them all pass.
    kept = {
        (alert, window): scenario for alert, _, _, scenario, window in (each for each in MUTANTS.values() if each[3:])
    }
    kept |= {("CrpluginsBudgetWillRunOut", ""): "", ("CrpluginsDown", ""): ""}
    for number, ((alert, window), scenario) in enumerate(kept.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        _write(folder, *_only(alert, window), _tests_of(alert, scenario, window))
    done = promtool("test", "rules", *(f"{number}/tests.yaml" for number in range(len(kept))), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(kept)
