"""`crplugins usage`: what was used and what it cost, from the ledger."""

import asyncio
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from crplugins.cli.configuration import ConfigOption
from crplugins.cli.keys_source import JsonOption, clock_of
from crplugins.cli.keys_words import key_id
from crplugins.cli.usage_show import print_csv, print_json, print_table
from crplugins.config import ConfigError, Problem
from crplugins.ledger.question import Question, Sums, read_groups, read_moment

T = TypeVar("T")

_MOMENTS = "such as 30m, 24h or 7d ago, or a date such as 2027-01-31 (UTC)"


def usage(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="What to tell apart: key, team, user, model, served_model, provider, outcome, error_type, day.",
        ),
    ] = "key,model",
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"The beginning, {_MOMENTS}.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The end, likewise.")] = None,
    key: Annotated[str | None, typer.Option(parser=key_id, metavar="ID", help="Only this key.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Only what was asked of this model.")] = None,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="URL", help="sqlite:///usage.db or postgresql://... Without it: the configuration's."),
    ] = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV alone on stdout.")] = False,
) -> None:
    """Show requests, tokens and costs. A request counts to the moment at which it began."""
    if as_json and as_csv:
        raise typer.BadParameter("one of the two", param_hint="--json / --csv")
    names = _read("--by", lambda: read_groups(by))
    now = clock_of(context)()
    begin, end = _moment("--since", since, now), _moment("--until", until, now)
    if begin and end and begin >= end:
        raise typer.BadParameter("ends before it begins", param_hint="--until")
    only = {name: value for name, value in (("key", key), ("team", team), ("model", model)) if value is not None}
    question = Question(names, begin, end, only)
    lines = _ask(question, ledger, config_file)
    if as_json:
        print_json(lines)
    elif as_csv:
        print_csv(lines, names)
    else:
        print_table(lines, names)
    if not any(line.requests for line in lines):
        sys.stderr.write("no request was recorded in this time\n")


def _ask(question: Question, ledger: str | None, config_file: Path | None) -> list[Sums]:
    """Raises `ConfigError` and `Refused`."""
    try:
        from crplugins.cli.usage_source import ask, open_database  # the `sql` extra, which other commands do without
    except ImportError as error:
        raise ConfigError([Problem((), f"needs {error.name}: pip install 'crplugins[sql]'")]) from None
    return asyncio.run(ask(open_database(ledger, config_file), question))


def _moment(option: str, text: str | None, now: datetime) -> datetime | None:
    return None if text is None else _read(option, lambda: read_moment(text, now))


def _read(option: str, reading: Callable[[], T]) -> T:
    try:
        return reading()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
