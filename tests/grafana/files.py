"""The committed files, and where their queries are."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.source.specs import SPECS
from tests.conftest import CHECKOUT

FOLDER = CHECKOUT / "grafana"
BOARDS = ("overview", "keys")
ONLY_WHERE_IN_USE = ("crplugins_cache_answer", "crplugins_webhook", "crplugins_otlp", "crplugins_sink")
TOLD_BY_AN_ALERT = {
    "crplugins_config_last_reload_successful",
    "crplugins_config_last_reload_success_timestamp_seconds",
}

ONLY_WHERE_ASKED_FOR = {spec.name for spec in SPECS if spec.opt_in or spec.name.startswith(ONLY_WHERE_IN_USE)}
"""What is there only where somebody has asked for it, where LiteLLM or a plugin has a cache, or where there are webhooks, sinks or a receiver of OTLP."""

ON_NO_PANEL = ONLY_WHERE_ASKED_FOR | TOLD_BY_AN_ALERT
"""That, and what nobody looks at until an alert says so."""

Board = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """`queries` by reference letter."""

    title: str
    json: dict[str, Any]

    @property
    def queries(self) -> list[tuple[str, str]]:
        """Expressions with their legends."""
        return [(target["expr"], target.get("legendFormat", "")) for target in self.json["targets"]]


def board(name: str) -> Board:
    return json.loads((FOLDER / "dashboards" / f"{name}.json").read_text())


def panels(of: Board) -> Iterator[Panel]:
    """Without rows."""
    return (Panel(each["title"], each) for each in of["panels"] if each["type"] != "row")


def variables(of: Board) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in of["templating"]["list"]}


def annotations(of: Board) -> list[dict[str, Any]]:
    return of["annotations"]["list"]


@cache
def rule_file(name: str) -> dict[str, Any]:
    """`recording`, `alerts` or `tests/rules`, read once: nobody changes what it returns."""
    document: dict[str, Any] = yaml.safe_load((FOLDER / "rules" / f"{name}.yaml").read_text())
    return document


def rules(name: str) -> list[dict[str, Any]]:
    """Of `recording` or `alerts`."""
    document = rule_file(name)
    return [rule for group in document["groups"] for rule in group["rules"]]


def tool(name: str) -> str:
    """The path of `prometheus` or `promtool`; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH")
    return found


def promtool(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [tool("promtool"), *map(str, arguments)]
    environment = {**os.environ, "GOGC": "400"}  # a quarter less of its time, for 80 MB
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
