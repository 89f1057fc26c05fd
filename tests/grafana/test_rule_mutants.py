"""The tests of the rules are worth something: each of these changes to a rule fails one of them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.grafana.files import FOLDER, promtool

RULES = FOLDER / "rules"
BURN, LATE = "CrpluginsErrorBudgetBurn", "CrpluginsTimeToFirstTokenBurn"
BAD, SLOW = "model:crplugins_availability_errors:ratio_rate", "model:crplugins_ttft_slow:ratio_rate"

MUTANTS = {
    # alert; what becomes what else in its rule or in the recorded series that it reads; which of its tests notices
    "the fast burn's threshold up": (BURN, "ratio_rate1h > 0.144", "ratio_rate1h > 0.16", "thresholds"),
    "the fast burn's threshold down": (BURN, "> 0.144", "> 0.13", "thresholds"),
    "the slow burn's threshold up": (BURN, "> 0.01", "> 0.02", "thresholds"),
    "no short window": (BURN, f"and {BAD}5m > 0.144\n", "", "what is over"),
    "no long window": (BURN, f"{BAD}6h > 0.06\nand ", "", "a blip"),
    "no minimum of traffic": (
        BURN,
        "\nand model:crplugins_availability_requests:increase1h > 100",
        "",
        "little traffic",
    ),
    "the minimum of another window": (
        BURN,
        "availability_requests:increase6h",
        "availability_requests:increase1h",
        "little traffic",
    ),
    "clients' mistakes dilute": (
        BURN,
        'outcome=~"ok|server_error"',
        'outcome=~"ok|server_error|client_error"',
        "do not hide",
    ),
    "clients' mistakes burn": (BURN, 'outcome="server_error"', 'outcome=~"server_error|client_error"', "burn nothing"),
    "clients that left burn": (BURN, 'outcome="server_error"', 'outcome!="ok"', "burn nothing"),
    "models are not kept apart": (BURN, "sum by (job, model)", "sum by (job)", "thresholds"),
    "a page becomes a ticket": (BURN, "severity: page", "severity: ticket", "what is over"),
    "the slow burn holds for less": (BURN, "for: 3h", "for: 1h", "only what lasts"),
    "another bucket": (LATE, 'le="2.0"', 'le="3.0"', "little traffic"),
    "fast streams burn": (LATE, "1 - sum", "sum", "thresholds"),
    "late streams' threshold": (LATE, "> 0.72", "> 0.8", "thresholds"),
    "too few streams": (LATE, "increase1h > 100", "increase1h > 10", "little traffic"),
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
    alert, old, new, *scenario = mutant
    original = _only(alert)
    changed = {
        name: re.sub(old if "\\" in old else re.escape(old), lambda _: new, text) for name, text in original.items()
    }
    assert changed != original, "the mutant is no mutant"
    for name, text in {**changed, "tests.yaml": _tests_of(alert, *scenario)}.items():
        (tmp_path / name).write_text(text)
    done = promtool("test", "rules", "tests.yaml", cwd=tmp_path)
    assert done.returncode != 0, "nothing has noticed"
    assert "got:" in done.stderr, done.stdout + done.stderr


def _only(alert: str) -> dict[str, str]:
    """The rules of one alert, and the recorded series that it reads: all that a test of it evaluates."""
    alerts = [rule for rule in _rules("alerts.yaml") if rule["alert"] == alert]
    read = "".join(rule["expr"] for rule in alerts)
    recorded = [rule for rule in _rules("recording.yaml") if rule["record"] in read]
    return {"recording.yaml": _file("recorded", recorded), "alerts.yaml": _file("alerts", alerts)}


def _rules(name: str) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((RULES / name).read_text())["groups"]:
        yield from group["rules"]


def _file(name: str, rules: list[dict[str, Any]]) -> str:
    return yaml.safe_dump(
        {"groups": [{"name": name, "rules": rules}]}, default_style=None, width=10_000, sort_keys=False
    )


def _tests_of(alert: str, scenario: str = "") -> str:
    """Those about the alert whose name has `scenario` in it: one is enough, and much faster than all."""
    document = yaml.safe_load((RULES / "tests.yaml").read_text())
    wanted = f'alertname="{alert}"'
    about = [each for each in document["tests"] if any(wanted in t["expr"] for t in each["promql_expr_test"])]
    document["tests"] = [each for each in about if scenario in each["name"]]
    assert document["tests"]
    document["group_eval_order"] = ["recorded", "alerts"]
    return yaml.safe_dump(document, width=10_000)


def test_the_rules_of_one_alert_pass_without_a_change(tmp_path: Path):
    """Or else every mutant would be caught by nothing."""
    for alert in ("CrpluginsBudgetWillRunOut", "CrpluginsDown"):
        for name, text in {**_only(alert), "tests.yaml": _tests_of(alert)}.items():
            (tmp_path / name).write_text(text)
        done = promtool("test", "rules", "tests.yaml", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
