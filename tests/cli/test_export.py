"""`crplugins dashboards export` and `crplugins rules export`: the files as they are in the checkout."""

import json
import tomllib

import pytest
import yaml

from tests.conftest import CHECKOUT

GRAFANA = CHECKOUT / "grafana"
DASHBOARDS = ("overview.json", "keys.json")
RULES = ("recording.yaml", "alerts.yaml", "tests/rules.yaml")


def test_dashboards_are_written_into_a_new_folder(run, tmp_path):
    done = run("dashboards", "export", tmp_path / "new" / "boards")
    assert done.returncode == 0
    assert done.stdout.split() == [str(tmp_path / "new" / "boards" / name) for name in DASHBOARDS]
    for name in DASHBOARDS:
        assert (tmp_path / "new" / "boards" / name).read_text() == (GRAFANA / "dashboards" / name).read_text()


def test_rules_are_written_with_their_tests_and_the_runbook(run, tmp_path):
    done = run("rules", "export", tmp_path, "--json")
    assert json.loads(done.stdout) == {"files": [str(tmp_path / name) for name in (*RULES, "RUNBOOK.md")]}
    assert f"{tmp_path}/*.yaml" in done.stderr
    for name in RULES:
        assert (tmp_path / name).read_text() == (GRAFANA / "rules" / name).read_text()
    assert (tmp_path / "RUNBOOK.md").read_text() == (GRAFANA / "RUNBOOK.md").read_text()


def test_the_rules_of_an_export_are_all_that_a_glob_of_it_finds(run, tmp_path):
    """`rule_files: [DIR/*.yaml]`: Prometheus does not start with a file that is no rules."""
    run("rules", "export", tmp_path)
    for file in tmp_path.glob("*.yaml"):
        assert set(yaml.safe_load(file.read_text())) == {"groups"}
    (tests,) = (tmp_path / "tests").iterdir()
    for name in yaml.safe_load(tests.read_text())["rule_files"]:
        assert (tests.parent / name).exists()


def test_dashboards_lead_to_the_runbook_where_its_address_is_given(run, tmp_path):
    done = run("dashboards", "export", tmp_path, "--runbook-url", "https://wiki.example.com/llm.md")
    assert done.returncode == 0
    for name in DASHBOARDS:
        shipped, linked = (json.loads((folder / name).read_text()) for folder in (GRAFANA / "dashboards", tmp_path))
        *links, runbook = linked.pop("links")
        assert links == shipped.pop("links")
        assert (runbook["type"], runbook["url"]) == ("link", "https://wiki.example.com/llm.md")
        assert linked == shipped


def test_rules_for_another_job_runbook_and_grafana(run, tmp_path):
    urls = ("--runbook-url", "https://wiki.example.com/llm.md", "--grafana-url", "https://example.com/grafana/")
    done = run("rules", "export", tmp_path, "--job", "llm-gateway", *urls)
    assert done.returncode == 0
    alerts = [
        rule for group in yaml.safe_load((tmp_path / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
    ]
    (down,) = (alert for alert in alerts if alert["alert"] == "CrpluginsDown")
    assert down["expr"] == 'up{job="llm-gateway"} == 0 or absent(up{job="llm-gateway"})'
    assert "the job llm-gateway at all" in down["annotations"]["description"]
    assert {alert["annotations"]["runbook_url"].partition("#")[0] for alert in alerts} == {
        "https://wiki.example.com/llm.md"
    }
    assert all(
        alert["annotations"]["dashboard_url"].startswith("https://example.com/grafana/d/crplugins-") for alert in alerts
    )
    for name in (*RULES, "RUNBOOK.md"):
        assert 'job="crplugins"' not in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    "option",
    [
        ("--job", 'a"b'),
        ("--job", ""),
        ("--runbook-url", "wiki"),
        ("--runbook-url", "https://x#y"),
        ("--grafana-url", "grafana"),
    ],
)
def test_what_would_break_the_rules_is_a_usage_error(run, tmp_path, option):
    done = run("rules", "export", tmp_path, *option)
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_changed_file_is_not_replaced_unless_it_is_said(run, tmp_path):
    assert run("rules", "export", tmp_path).returncode == 0
    assert run("rules", "export", tmp_path).returncode == 0
    (tmp_path / "alerts.yaml").write_text("groups: []\n")
    (tmp_path / "recording.yaml").unlink()
    refused = run("rules", "export", tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"{tmp_path}/alerts.yaml: exists already, and differs. Replace with --force\n"
    assert not (tmp_path / "recording.yaml").exists()
    assert run("rules", "export", tmp_path, "--force").returncode == 0
    assert (tmp_path / "alerts.yaml").read_text() == (GRAFANA / "rules" / "alerts.yaml").read_text()


def test_a_folder_that_cannot_be_made_is_a_sentence(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("dashboards", "export", tmp_path / "file" / "boards")
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/file/boards: Not a directory\n"


def test_the_wheel_has_every_exported_file():
    """Built from `force-include`; in a checkout they are read from `grafana/`."""
    included = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "force-include"
    ]
    for path in (*(f"dashboards/{name}" for name in DASHBOARDS), *(f"rules/{name}" for name in RULES), "RUNBOOK.md"):
        assert (GRAFANA / path).exists()
        assert any(
            f"grafana/{path}".startswith(source) and target == f"crplugins/{source}"
            for source, target in included.items()
        )
