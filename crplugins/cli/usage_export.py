"""`crplugins usage export`: the rows of the ledger as files, one for each day."""

import asyncio
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from crplugins.cli.keys.source import clock_of
from crplugins.cli.options import ConfigOption, LedgerOption, read_option
from crplugins.cli.refused import Refused
from crplugins.config import ConfigError, Problem
from crplugins.ledger.question import read_moment

_DAY: Final = "such as 2027-01-31 or 30d ago"
_FORMATS: Final = ("csv", "parquet")


def export(
    context: typer.Context,
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="The folder; it is made if need be.")],
    since: Annotated[
        str | None, typer.Option(metavar="DAY", help=f"The first day (UTC), {_DAY}. Without it: the ledger's.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="DAY", help="The day after the last one, in the same form. Without it: the first that is not over."
        ),
    ] = None,
    kind: Annotated[str, typer.Option("--format", metavar="csv|parquet", help="The format of the files.")] = "csv",
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Write a file for each day that is over. A file that is there is complete, and left as it is.

    Prints the name of each file that it has written.
    """
    if kind not in _FORMATS:
        raise typer.BadParameter("must be csv or parquet", param_hint="--format")
    now = clock_of(context)()
    days = _day("--since", since, now), _day("--until", until, now)
    asyncio.run(_export(directory, "csv" if kind == "csv" else "parquet", *days, now, ledger, config_file))


async def _export(
    directory: Path,
    kind: Literal["csv", "parquet"],
    first: date | None,
    end: date | None,
    now: datetime,
    ledger: str | None,
    config_file: Path | None,
) -> None:
    """Raises `ConfigError` and `Refused`."""
    try:
        from crplugins.cli.usage_source import ask, find_ledger  # needs the `sql` extra
        from crplugins.ledger.export import ExportUnwritable, export_days, first_day, last_whole_day
        from crplugins.ledger.reader import LedgerReader
    except ImportError as error:
        raise ConfigError([Problem((), f"needs {error.name}: pip install 'crplugins[sql]'")]) from None

    async def write(reader: LedgerReader) -> None:
        earliest, behind = await first_day(reader), last_whole_day(now)
        begin = earliest if earliest is None or first is None else max(first, earliest)
        if end is not None and end > behind:
            sys.stderr.write(f"note: {behind.isoformat()} is not over, or not all of it is recorded\n")
        if begin is None:
            return
        skipped = 0
        async for day in export_days(reader, begin, min(end or behind, behind), directory, kind):
            skipped += day.rows is None
            if day.rows is not None:
                typer.echo(f"{day.file} {day.rows}")
        if skipped:
            sys.stderr.write(f"note: {skipped} files were there already\n")

    found = find_ledger(ledger, config_file)
    try:
        await ask(found, write)
    except ImportError as error:
        raise ConfigError([Problem((), f"needs {error.name}: pip install 'crplugins[parquet]'")]) from None
    except ExportUnwritable as error:
        raise Refused(str(error)) from None


def _day(option: str, text: str | None, now: datetime) -> date | None:
    return None if text is None else read_option(option, lambda: read_moment(text, now)).date()
