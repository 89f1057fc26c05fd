"""`crplugins usage partition`: makes the months of a ledger in PostgreSQL, and divides one that is a single table."""

import asyncio
import sys
from datetime import datetime
from typing import Annotated, Final

import typer

from crplugins.cli.keys.source import clock_of
from crplugins.cli.options import ConfigOption, LedgerOption
from crplugins.cli.refused import Refused
from crplugins.config import ConfigError, Problem
from crplugins.sql.url import DatabaseUrl

_PATIENCE: Final = 86_400.0
"""Seconds for a statement: an index of a billion rows."""


def partition(
    context: typer.Context,
    months: Annotated[
        int, typer.Option("--months", min=1, max=120, help="How many months to make, beginning with this one.")
    ] = 2,
    ledger: LedgerOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Divide a ledger in PostgreSQL by month, where it is one table; make its next months, where they are missing.

    Gateways may run meanwhile, if all are of this release. After an interruption, run it again.
    """
    try:
        from crplugins.cli.usage_source import find_ledger  # needs the `sql` extra
    except ImportError as error:
        raise ConfigError([Problem((), f"needs {error.name}: pip install 'crplugins[sql]'")]) from None
    url = find_ledger(ledger, config_file).database.url
    if url.backend == "sqlite":
        raise Refused("a ledger in SQLite is one file, and has no partitions")
    asyncio.run(_partition(url, clock_of(context)(), months))


async def _partition(url: DatabaseUrl, now: datetime, months: int) -> None:
    """Raises `Refused`."""
    from sqlalchemy.exc import SQLAlchemyError

    from crplugins.ledger.errors import reason_of
    from crplugins.ledger.one_table import CannotDivide, divide
    from crplugins.sql.engine import make_engine

    engine = await asyncio.to_thread(make_engine, url, _PATIENCE)
    try:
        done = await divide(engine, now, months)
    except CannotDivide as error:
        raise Refused(f"the ledger cannot be divided: {error}") from None
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise Refused(f"the ledger could not be divided, and works as before: {reason_of(error)}") from None
    finally:
        await engine.dispose()
    if done.was:
        sys.stderr.write("note: the ledger is divided by month already\n")
    else:
        typer.echo(f"{done.partition} has every row before {done.cutover}")
    for name in done.made:
        typer.echo(f"{name} is new")
    for name in done.own_indexes:
        sys.stderr.write(f"note: the index {name} is on the old table alone; make it on usage, too\n")
