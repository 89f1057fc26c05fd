"""`crplugins dashboards`: the Grafana dashboards that come with the package."""

import sys

import typer

from crplugins.cli.export import FolderArgument, ForceOption, export, shipped
from crplugins.cli.keys_source import JsonOption

dashboards = typer.Typer(
    name="dashboards", help="The Grafana dashboards.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@dashboards.callback()
def _group() -> None:
    """Keeps `export` a word of its own."""


@dashboards.command("export")
def export_dashboards(folder: FolderArgument, force: ForceOption = False, as_json: JsonOption = False) -> None:
    """Write overview.json and keys.json, to import into Grafana or to let it read."""
    texts = {name: shipped(f"dashboards/{name}") for name in ("overview.json", "keys.json")}
    export(folder, texts, force=force, as_json=as_json)
    sys.stderr.write("Grafana: Dashboards, New, Import; or let it read the folder, as grafana/provisioning does\n")
