"""`crplugins rules`: the recording and alert rules for Prometheus that come with the package."""

import re
import sys
from typing import Annotated, Final

import typer

from crplugins.cli.export import FolderArgument, ForceOption, export, shipped
from crplugins.cli.keys_source import JsonOption

JOB: Final = "crplugins"
RUNBOOK: Final = "RUNBOOK.md"

rules = typer.Typer(
    name="rules", help="The rules for Prometheus.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@rules.callback()
def _group() -> None:
    """Keeps `export` a word of its own."""


def _job(name: str) -> str:
    if not re.fullmatch(r"[\w./:-]+", name):
        raise typer.BadParameter("letters, digits and ._/:- only")
    return name


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"'#{}]+", text):
        raise typer.BadParameter("an address such as https://wiki.example.com/RUNBOOK.md, without #")
    return text


@rules.command("export")
def export_rules(
    folder: FolderArgument,
    job: Annotated[
        str, typer.Option(parser=_job, metavar="NAME", help="The job_name of the scrape configuration.")
    ] = JOB,
    runbook_url: Annotated[
        str | None, typer.Option(parser=_url, metavar="URL", help="Where RUNBOOK.md is read; alerts link to it.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write recording.yaml, alerts.yaml, their tests, and RUNBOOK.md."""
    texts = {name: shipped(f"rules/{name}") for name in ("recording.yaml", "alerts.yaml", "tests.yaml")}
    texts[RUNBOOK] = shipped(RUNBOOK)
    if job != JOB:
        texts = {name: _of_job(text, job) for name, text in texts.items()}
    if runbook_url is not None:
        texts["alerts.yaml"] = texts["alerts.yaml"].replace(f"runbook_url: {RUNBOOK}#", f"runbook_url: {runbook_url}#")
    export(folder, texts, force=force, as_json=as_json)
    sys.stderr.write(f"Prometheus: rule_files: [{folder}/recording.yaml, {folder}/alerts.yaml]\n")


def _of_job(text: str, job: str) -> str:
    """Rules, tests and runbook name the job only where they mean it."""
    return text.replace(f'job="{JOB}"', f'job="{job}"').replace(f"the job {JOB} ", f"the job {job} ")
