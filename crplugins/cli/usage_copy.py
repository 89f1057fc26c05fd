"""`crplugins usage copy`: the rows of the ledger, written into another database."""

import asyncio
import os
import sqlite3
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from crplugins.cli.keys.source import clock_of
from crplugins.cli.options import ConfigOption, LedgerOption
from crplugins.cli.refused import Refused
from crplugins.config import ConfigError, Problem


def copy(
    context: typer.Context,
    to: Annotated[
        str, typer.Option(metavar="URL", help="The ledger that takes them: postgresql://... or sqlite:///...")
    ],
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Copy every row of the ledger into another one, whose tables are made if need be. Rows that are there are skipped.
    Of days whose rows have been deleted the sums are copied.

    Gateways may run meanwhile. Run it again after they write into the new one: it brings the rows of the time between.
    """
    asyncio.run(_copy(to, clock_of(context)(), ledger, config_file))


async def _copy(to: str, now: datetime, ledger: str | None, config_file: Path | None) -> None:
    """Raises `ConfigError` and `Refused`."""
    try:
        from sqlalchemy.exc import SQLAlchemyError

        from crplugins.cli.usage_source import ask, find_ledger  # needs the `sql` extra
        from crplugins.ledger.copying import copy_rows, copy_sums
        from crplugins.ledger.database import LedgerDatabase
        from crplugins.ledger.errors import LinesRefused, reason_of
        from crplugins.ledger.reader import LedgerReader
    except ImportError as error:
        raise ConfigError([Problem((), f"needs {error.name}: pip install 'crplugins[sql]'")]) from None
    found = find_ledger(ledger, config_file)
    try:
        target = LedgerDatabase(to)
    except (ValueError, ImportError) as error:
        raise ConfigError([Problem(("--to",), str(error))]) from None
    if str(target.url) == str(found.database.url) or _is_same_file(target.file, found.database.file):
        raise Refused("--to names the ledger itself")

    async def write(reader: LedgerReader) -> int:
        rows = 0
        try:
            async for number in copy_rows(reader, target, now):
                rows += number
            days = await copy_sums(reader, target, now)
        except (SQLAlchemyError, sqlite3.Error, LinesRefused, OSError, TimeoutError) as error:
            raise Refused(f"--to cannot be written, after {rows} rows: {reason_of(error)}") from None
        if days:
            sys.stderr.write(f"note: of {days} days whose rows have been deleted the sums are in the other ledger\n")
        return rows

    try:
        typer.echo(f"{await ask(found, write)} rows are in the other ledger")
    finally:
        await target.close()


def _is_same_file(one: Path | None, other: Path | None) -> bool:
    """However each of them is spelt, and through symlinks."""
    return one is not None and other is not None and os.path.realpath(one) == os.path.realpath(other)
