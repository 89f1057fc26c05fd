"""`crplugins dashboards export` and `rules export`: write the dashboards and rules of the package into a folder."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

import crplugins
from crplugins.cli.keys.source import JsonOption
from crplugins.cli.refused import Refused

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Created if it does not exist.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that were changed.")]

_PACKAGE: Final = Path(crplugins.__file__).parent


def shipped(path: str) -> str:
    """The text of a file of `grafana/`: in the installed package, or beside the package in a checkout."""
    packaged = _PACKAGE / "grafana" / path
    file = packaged if packaged.exists() else _PACKAGE.parent / "grafana" / path
    return file.read_text(encoding="utf-8")


def export(folder: Path, texts: Mapping[str, str], *, force: bool, as_json: bool) -> None:
    """Writes all files or none. Raises `Refused` if one exists and differs, or cannot be written."""
    files = {folder / name: text for name, text in texts.items()}
    try:
        changed = [file for file, text in files.items() if file.exists() and _read(file) != text]
        if changed and not force:
            raise Refused(f"{', '.join(map(str, changed))}: exists already, and differs. Replace with --force")
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{error.filename or folder}: {error.strerror}") from None
    names = [str(file) for file in files]
    shown = json.dumps({"files": names}, indent=2) if as_json else "\n".join(names)
    sys.stdout.write(f"{shown}\n")


def _read(file: Path) -> str | None:
    """The text of the file; None if it is not text, so that it counts as different."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


dashboards = typer.Typer(
    name="dashboards", help="The Grafana dashboards.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@dashboards.callback()
def _dashboards_group() -> None:
    """Without a callback typer would drop the word `export` from a group with one command."""


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"'#{}]+", text):
        raise typer.BadParameter("an address such as https://wiki.example.com/RUNBOOK.md, without #")
    return text


RunbookOption = Annotated[
    str | None, typer.Option("--runbook-url", parser=_url, metavar="URL", help="Where your people read RUNBOOK.md.")
]


@dashboards.command("export")
def export_dashboards(
    folder: FolderArgument, runbook_url: RunbookOption = None, force: ForceOption = False, as_json: JsonOption = False
) -> None:
    """Write overview.json and keys.json, to import into Grafana or to let it read."""
    texts = {name: shipped(f"dashboards/{name}") for name in ("overview.json", "keys.json")}
    if runbook_url is not None:
        texts = {name: _linked(text, runbook_url) for name, text in texts.items()}
    export(folder, texts, force=force, as_json=as_json)
    sys.stderr.write("Grafana: Dashboards, New, Import; or let it read the folder, as grafana/provisioning does\n")


def _linked(dashboard: str, runbook_url: str) -> str:
    """The dashboard with a link to the runbook beside the one to the other dashboard."""
    board = json.loads(dashboard)
    board["links"].append(
        {"title": "Runbook", "type": "link", "icon": "doc", "url": runbook_url, "targetBlank": True, "tags": [],
         "tooltip": "What to do when an alert fires", "asDropdown": False, "includeVars": False, "keepTime": False}
    )  # fmt: skip
    return json.dumps(board, indent=2, sort_keys=True) + "\n"


JOB: Final = "crplugins"
RUNBOOK: Final = "RUNBOOK.md"

rules = typer.Typer(
    name="rules", help="The rules for Prometheus.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@rules.callback()
def _rules_group() -> None:
    """Without a callback typer would drop the word `export` from a group with one command."""


def _job(name: str) -> str:
    if not re.fullmatch(r"[\w./:-]+", name):
        raise typer.BadParameter("letters, digits and ._/:- only")
    return name


@rules.command("export")
def export_rules(
    folder: FolderArgument,
    job: Annotated[
        str, typer.Option(parser=_job, metavar="NAME", help="The job_name of the scrape configuration.")
    ] = JOB,
    runbook_url: RunbookOption = None,
    grafana_url: Annotated[
        str | None, typer.Option(parser=_url, metavar="URL", help="Where Grafana is; alerts link to its dashboards.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write recording.yaml, alerts.yaml and RUNBOOK.md, and promtool's tests into a folder of their own."""
    texts = {name: shipped(f"rules/{name}") for name in ("recording.yaml", "alerts.yaml", "tests/rules.yaml")}
    texts[RUNBOOK] = shipped(RUNBOOK)
    if job != JOB:
        texts = {name: _of_job(text, job) for name, text in texts.items()}
    if runbook_url is not None:
        texts["alerts.yaml"] = texts["alerts.yaml"].replace(f"runbook_url: {RUNBOOK}#", f"runbook_url: {runbook_url}#")
    if grafana_url is not None:
        root = grafana_url.rstrip("/")
        texts["alerts.yaml"] = texts["alerts.yaml"].replace("dashboard_url: /d/", f"dashboard_url: {root}/d/")
    export(folder, texts, force=force, as_json=as_json)
    sys.stderr.write(f"Prometheus: rule_files: [{folder}/*.yaml]\n")


def _of_job(text: str, job: str) -> str:
    """The text for another name of the scrape job."""
    return text.replace(f'job="{JOB}"', f'job="{job}"').replace(f"the job {JOB} ", f"the job {job} ")
