"""`crplugins reconcile EXPORT`: the ledger held against the provider's own usage or costs export."""

import asyncio
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from crplugins.cli.keys.source import JsonOption, clock_of
from crplugins.cli.options import ConfigOption, LedgerOption, read_option
from crplugins.cli.reconcile_report import print_json, print_table
from crplugins.config import ConfigError, Problem
from crplugins.ledger.question import read_moment
from crplugins.ledger.reconcile.amounts import Entry
from crplugins.ledger.reconcile.cells import Unreadable
from crplugins.ledger.reconcile.columns import FIELDS, table_layout
from crplugins.ledger.reconcile.compare import CAUSES, EXPLAINED, compare
from crplugins.ledger.reconcile.export import Export, ReadOptions, read_export

_DECIMAL_MARKS: Final[Mapping[str, Literal[".", ","]]] = {"point": ".", "comma": ","}
_DAY: Final = "such as 2027-01-31 or 7d ago"


def reconcile(
    context: typer.Context,
    export: Annotated[
        Path,
        typer.Argument(metavar="EXPORT", help="A CSV or JSON file: usage or costs of OpenAI or Anthropic, or a table."),
    ],
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help=f"The first day (UTC), {_DAY}. Without it: the export's."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="The last day, in the same form; it is included.")
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only its requests, such as azure. Without it: the export's provider's."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONFIGURED=EXPORTED",
            help="What a configured model, or another line of the export, is to count as.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help=f"Of a table: where it has {', '.join(FIELDS)}."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only these lines of the export, such as project_id=proj_1."),
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(metavar="point|comma", help="The decimal mark, where a number can be read either way.")
    ] = None,
    tolerance: Annotated[
        str, typer.Option(metavar="PERCENT", help="A difference up to this share of the number is rounding.")
    ] = "0",
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CAUSE", help=f"Exit 0 for this cause too: {', '.join(sorted(CAUSES.keys() - EXPLAINED))}."
        ),
    ] = None,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the ledger with a provider's export, by day (UTC), model and tier.

    Exits with 1 if a difference has no explanation. Differences are here minus there: the ledger minus the export.
    """
    now = clock_of(context)()
    options = ReadOptions(
        columns=_pairs("--column", column),
        mark=_mark(decimal),
        only=_pairs("--only", only),
        first=_day("--from", since, now),
        last=_day("--to", until, now),
    )
    if options.first and options.last and options.first > options.last:
        raise typer.BadParameter("ends before it begins", param_hint="--to")
    models, share = _pairs("--model", model), _share(tolerance)
    explained = EXPLAINED | _causes(accept)
    found = _read(export, options)
    name = provider or found.layout.provider
    comparison = compare(found, _entries(found, name, ledger, config_file), models, share)
    unknown = sorted(set(models.values()) - {group.model for group in found.amounts})
    for note in (*found.notes, *(f"the export has no model '{name}'" for name in unknown)):
        sys.stderr.write(f"note: {note}\n")
    if not any(row.here.requests for row in comparison.rows) and not any(any(row.here) for row in comparison.rows):
        sys.stderr.write(f"note: the ledger has no request of {name or 'any provider'} on these days\n")
    failed = any(residual.cause not in explained for row in comparison.rows for residual in row.residuals)
    (print_json if as_json else print_table)(found, name, comparison, explained)
    raise typer.Exit(1 if failed else 0)


def _read(file: Path, options: ReadOptions) -> Export:
    """Raises `ConfigError`, which ends the command with 2."""
    try:
        found = read_export(file, options)
    except Unreadable as error:
        raise ConfigError([Problem((), str(error))], str(file)) from None
    except OSError as error:
        raise ConfigError([Problem((), f"cannot be read: {error.strerror}")], str(file)) from None
    if not found.measures or found.first is None or found.last is None:
        why = f" ({'; '.join(found.notes)})" if found.notes else ""
        raise ConfigError([Problem((), f"has no amounts of these days: there is nothing to compare{why}")], str(file))
    return found


def _entries(export: Export, provider: str | None, ledger: str | None, config_file: Path | None) -> Sequence[Entry]:
    """Raises `ConfigError` and `Refused`."""
    try:
        from crplugins.cli.usage_source import ask, find_ledger  # needs the `sql` extra
        from crplugins.ledger.reconcile.book import read_book
    except ImportError as error:
        raise ConfigError([Problem((), f"needs {error.name}: pip install 'crplugins[sql]'")]) from None
    assert export.first is not None
    assert export.last is not None
    first, last = export.first, export.last
    return asyncio.run(ask(find_ledger(ledger, config_file), lambda reader: read_book(reader, first, last, provider)))


def _pairs(option: str, texts: Sequence[str] | None) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise typer.BadParameter(f"must be NAME=NAME, not {text!r}", param_hint=option)
        if name.strip() in pairs:
            raise typer.BadParameter(f"names {name.strip()!r} twice", param_hint=option)
        pairs[name.strip()] = value.strip()
    if option == "--column":
        read_option(option, lambda: table_layout(pairs))
    return pairs


def _day(option: str, text: str | None, now: datetime) -> date | None:
    return None if text is None else read_option(option, lambda: read_moment(text, now)).date()


def _mark(text: str | None) -> Literal[".", ","] | None:
    if text is not None and text not in _DECIMAL_MARKS:
        raise typer.BadParameter("must be point or comma", param_hint="--decimal")
    return None if text is None else _DECIMAL_MARKS[text]


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)%?", text)
    if match is None or float(match[1]) > 100:
        raise typer.BadParameter("must be a percentage such as 0.1", param_hint="--tolerance")
    return float(match[1]) / 100


def _causes(names: Sequence[str] | None) -> frozenset[str]:
    for name in names or ():
        if name not in CAUSES:
            raise typer.BadParameter(f"knows no '{name}', only {', '.join(CAUSES)}", param_hint="--accept")
    return frozenset(names or ())
