"""The dashboards against the types that Grafana publishes of its JSON (@grafana/schema), checked by TypeScript."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.grafana.files import BOARDS, Board, board, panels

PACKAGES = ("@grafana/schema@13.2.1", "typescript@5.9")

PANEL_TYPES = {
    "bargauge": "BarGauge", "heatmap": "Heatmap", "stat": "Stat", "table": "Table", "timeseries": "TimeSeries",
}  # fmt: skip
WITH_FIELD_CONFIG = ("heatmap", "timeseries")
"""Of the others, @grafana/schema has no type for what a field may say."""

HEAD = """\
import type { Dashboard } from "@grafana/schema";
IMPORTS
// JSON has the value of an enum, not its name.
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""
IMPORT = (
    'import type * as {name} from "@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen";'
)


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with @grafana/schema and TypeScript."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not on the PATH")
    folder = tmp_path_factory.mktemp("grafana_schema")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    command = [npm, "install", "--silent", "--legacy-peer-deps", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install @grafana/schema: {done.stderr.strip()[:200]}")
    return folder


def literals(name: str, of: Board) -> str:
    """A dashboard, and the options of each of its panels, as typed constants."""
    of = _without_waived(of)
    lines = [f"export const {name}: Plain<Dashboard> = {json.dumps(of, indent=1)};"]
    for number, panel in enumerate(panels(of)):
        kind = panel.json["type"]
        own = f"{name}_{number}"
        lines.append(_constant(f"{own}_options", f"{PANEL_TYPES[kind]}.Options", panel.json["options"]))
        custom = panel.json["fieldConfig"]["defaults"].get("custom")
        if kind in WITH_FIELD_CONFIG and custom is not None:
            lines.append(_constant(f"{own}_custom", f"{PANEL_TYPES[kind]}.FieldConfig", custom))
    return "\n".join(lines)


def _constant(name: str, kind: str, value: Any) -> str:
    return f"export const {name}: Partial<Plain<{kind}>> = {json.dumps(value)};"


def _without_waived(of: Board) -> Board:
    """Grafana reads these, and writes them itself; its types do not have them."""
    copy = deepcopy(of)
    for variable in copy["templating"]["list"]:
        for key in ("id", "auto", "auto_count", "auto_min", "definition"):
            variable.pop(key, None)
    for annotation in copy["annotations"]["list"]:
        for key in ("expr", "step", "textFormat", "titleFormat"):
            annotation.pop(key, None)
        for key in ("expr", "instant", "range"):  # words of the Prometheus data source
            annotation.get("target", {}).pop(key, None)
    for panel in panels(copy):
        if panel.json["type"] == "table":
            panel.json["options"].pop("footer", None)
    return copy


@pytest.fixture(scope="module")
def complaints(schema: Path) -> dict[str, list[str]]:
    """What the compiler says of the dashboards, and of some with a mistake each; both at once, as it reads the types first."""
    imports = "\n".join(IMPORT.format(kind=kind, name=name) for kind, name in PANEL_TYPES.items())
    files = {"ours": {name: board(name) for name in BOARDS}, "misspelt": dict(_misspelt())}
    for file, boards in files.items():
        text = "\n".join(literals(name, of) for name, of in boards.items())
        (schema / f"{file}.ts").write_text(HEAD.replace("IMPORTS", imports) + text)
    compiler = schema / "node_modules" / ".bin" / "tsc"
    options = ["--strict", "--noEmit", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"]
    done = subprocess.run(
        [compiler, *options, *(f"{file}.ts" for file in files)],
        cwd=schema, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if "error" in line]
    assert all(line.startswith(tuple(files)) for line in errors), done.stdout
    return {file: [line for line in errors if line.startswith(f"{file}.ts")] for file in files}


def _misspelt() -> Iterator[tuple[str, Board]]:
    boards = [board("overview") for _ in range(4)]
    boards[0]["refrehs"] = boards[0].pop("refresh")
    _first_chart(boards[1])["options"]["legend"]["displayMode"] = "lists"
    _first_chart(boards[2])["fieldConfig"]["defaults"]["custom"]["lineWidht"] = 1
    boards[3]["templating"]["list"][0]["hide"] = "never"
    return ((f"board{number}", of) for number, of in enumerate(boards))


def test_both_dashboards_are_what_grafana_calls_a_dashboard(complaints):
    assert not complaints["ours"]


def test_a_misspelt_key_or_value_is_found(complaints):
    found = "\n".join(complaints["misspelt"])
    assert all(word in found for word in ('"refrehs"', '"lists"', '"lineWidht"', "VariableHide")), found


def _first_chart(of: Board) -> dict[str, Any]:
    return next(panel.json for panel in panels(of) if panel.json["type"] == "timeseries")
