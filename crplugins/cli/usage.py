"""`crplugins usage`: what was used and what it cost, from the ledger, as a table, JSON or CSV."""

import asyncio
import csv
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from crplugins.cli.keys.source import JsonOption, clock_of, key_id
from crplugins.cli.options import ConfigOption, LedgerOption, read_option
from crplugins.cli.terminal import plain_console, printable
from crplugins.cli.usage_copy import copy
from crplugins.cli.usage_export import export
from crplugins.cli.usage_partition import partition
from crplugins.config import ConfigError, Problem
from crplugins.ledger.question import GROUPS, Question, Sums, cost_usd, read_groups, read_moment, sums_to_dict, total_of

_COLUMNS: Final = {
    "requests": "requests",
    "errors": "errors",
    "input": "input_tokens",
    "cached": "cached_input_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_output_tokens",
}

_NARROW: Final = ("reasoning", "cached", "errors")
"""The columns that a narrow terminal omits, in this order."""

_UNLIMITED: Final = 10_000
_MOMENTS = "such as 30m, 24h or 7d ago, or a date such as 2027-01-31 (UTC)"


usage = typer.Typer(name="usage", rich_markup_mode=None)
usage.command("export")(export)
usage.command("copy")(copy)
usage.command("partition")(partition)


@usage.callback(invoke_without_command=True)
def report(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help=f"What to group by: {', '.join(GROUPS)}.",
        ),
    ] = "key,model",
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"The beginning, {_MOMENTS}.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The end, in the same form.")] = None,
    key: Annotated[str | None, typer.Option(parser=key_id, metavar="ID", help="Only this key.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Only what was asked of this model.")] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV alone on stdout.")] = False,
) -> None:
    """Show requests, tokens and costs. A request counts at the time at which it began."""
    if context.invoked_subcommand is not None:
        return
    if as_json and as_csv:
        raise typer.BadParameter("one of the two", param_hint="--json / --csv")
    names = read_option("--by", lambda: read_groups(by))
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
        from crplugins.cli.usage_source import NoTables, ask, find_ledger  # needs the `sql` extra
        from crplugins.ledger.report import answer
    except ImportError as error:
        raise ConfigError([Problem((), f"needs {error.name}: pip install 'crplugins[sql]'")]) from None
    try:
        return asyncio.run(ask(find_ledger(ledger, config_file), lambda reader: answer(reader, question)))
    except NoTables as nothing:
        sys.stderr.write(f"{nothing}\n")
        return [] if question.by else [total_of(())]


def _moment(option: str, text: str | None, now: datetime) -> datetime | None:
    return None if text is None else read_option(option, lambda: read_moment(text, now))


def print_json(lines: Sequence[Sums]) -> None:
    typer.echo(json.dumps([sums_to_dict(line) for line in lines], indent=2))


def print_csv(lines: Sequence[Sums], by: Sequence[str]) -> None:
    """A header, then one line for each group; an unknown cost is empty."""
    rows: list[dict[str, Any]] = [sums_to_dict(line) for line in lines]
    names = [*(GROUPS[name] for name in by), *list(sums_to_dict(total_of(())))]
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def print_table(lines: Sequence[Sums], by: Sequence[str]) -> None:
    console = plain_console()
    space = console.width if console.is_terminal else _UNLIMITED
    console.width = _UNLIMITED  # rich would shorten numbers to make them fit
    console.print(_fitting(console, space, lines, by))
    estimated = total_of(lines).estimated_requests
    if estimated:
        console.print(f"{estimated:,} of these requests have estimated token counts: their provider reported none.")


def _fitting(console: Console, space: int, lines: Sequence[Sums], by: Sequence[str]) -> Table:
    """A table with as many of the columns in `_NARROW` as there is space for."""
    for number in range(len(_NARROW) + 1):
        columns = [name for name in _COLUMNS if name not in _NARROW[:number]]
        table = _table(lines, by, columns)
        if console.measure(table).maximum <= space:
            break
    return table


def _table(lines: Sequence[Sums], by: Sequence[str], columns: Sequence[str]) -> Table:
    """A table with the totals in its last row, unless nothing is grouped and the only row is the total."""
    table = Table(show_footer=bool(by), box=box.SIMPLE_HEAD)
    for number, name in enumerate(by):
        table.add_column(name.replace("_", " "), footer="" if number else "total", no_wrap=True)
    for name, footer in zip((*columns, "cost"), _cells(total_of(lines), columns), strict=True):
        table.add_column(name, footer=footer, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*(_cell(line.group[GROUPS[name]]) for name in by), *_cells(line, columns))
    return table


def _cells(sums: Sums, columns: Sequence[str]) -> list[str]:
    return [*(f"{getattr(sums, _COLUMNS[name]):,}" for name in columns), _cost(sums)]


def _cost(sums: Sums) -> str:
    """`$1.23 + 4 unpriced`: an unknown cost is never shown as 0."""
    known = cost_usd(sums)
    unpriced = f"{sums.unpriced_requests:,} unpriced" if sums.unpriced_requests else ""
    return " + ".join(part for part in ("" if known is None else _dollars(known), unpriced) if part)


def _dollars(usd: float) -> str:
    """To the cent; below a dollar to the millionth, without zeros at the end."""
    if abs(usd) >= 1 or not usd:
        return f"${usd:,.2f}"
    whole, _, fraction = f"{usd:.6f}".partition(".")
    return f"${whole}.{fraction.rstrip('0').ljust(2, '0')}"


def _cell(value: str | None) -> str:
    return "-" if value is None else printable(value)
