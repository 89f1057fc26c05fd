"""The commands and what they share: `--version`, and the exit codes and messages of failures."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import typer

from crplugins import __version__
from crplugins.cli.check import check
from crplugins.cli.explain import explain
from crplugins.cli.export import dashboards, rules
from crplugins.cli.keys import keys
from crplugins.cli.reconcile import reconcile
from crplugins.cli.refused import Refused
from crplugins.cli.serve import serve
from crplugins.cli.top.top import top
from crplugins.cli.usage import usage
from crplugins.config import ConfigError

app = typer.Typer(
    name="crplugins",
    help="Your own OpenAI-compatible chat completions gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(serve)
app.command()(check)
app.command()(explain)
app.command()(usage)
app.command()(reconcile)
app.command()(top)
app.add_typer(keys)
app.add_typer(dashboards)
app.add_typer(rules)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crplugins {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def run(now: Callable[[], datetime] | None = None) -> None:
    """Runs the command line. A configuration error exits with 2, a refusal with 1, each with a message on stderr.

    `now` is the wall clock of the commands that need one.
    """
    try:
        app(prog_name="crplugins", obj=now)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
