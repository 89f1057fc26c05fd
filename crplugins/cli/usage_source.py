"""The ledger that commands read: that of `--ledger`, else the one of the configuration."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.cli.keys.source import read_config
from crplugins.cli.refused import Refused
from crplugins.config import ConfigError, Problem
from crplugins.ledger.database import LedgerDatabase, reason_of
from crplugins.ledger.ledger import spool_path
from crplugins.ledger.spool import count_waiting

T = TypeVar("T")

_NO_TABLE = ("no such table", "does not exist")


def open_database(ledger: str | None, config_file: Path | None) -> LedgerDatabase:
    """The database, not yet connected. Prints to stderr how many records are not in it yet. Raises `ConfigError`."""
    url, spool = (ledger, None) if ledger is not None else _configured(config_file)
    try:
        database = LedgerDatabase(url, migrate=False)
    except (ValueError, ImportError) as error:
        raise ConfigError([Problem(("ledger",), str(error))]) from None
    if database.file is not None and not database.file.exists():
        raise ConfigError(
            [Problem((), "there is no such file; a gateway creates it when it starts")], str(database.file)
        )
    path = spool_path(database, spool)
    waiting = count_waiting(path)
    if waiting:
        where = f"{path} and its journals"
        sys.stderr.write(f"note: up to {waiting} more records are in {where}; a gateway commits them when it starts\n")
    return database


class NoTables(Refused):
    """A server's database without the tables of a ledger, so without a record. A file without them is no ledger."""


async def ask(database: LedgerDatabase, question: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """What the question finds. Raises `Refused`, and of it `NoTables`."""
    try:
        async with database.reading() as connection:
            return await question(connection)
    except DBAPIError as error:
        reason = str(error.orig)
        if "no such column" in reason or ("column" in reason and "does not exist" in reason):
            raise Refused("its tables are of an older release; a gateway migrates them when it starts") from None
        if any(words in reason for words in _NO_TABLE):
            kind = Refused if database.file else NoTables
            raise kind("this database has no records; a gateway creates their tables when it starts") from None
        raise Refused(f"the ledger cannot be read: {reason_of(error)}") from None
    except (OSError, TimeoutError) as error:
        raise Refused(f"the ledger is unavailable: {reason_of(error)}") from None
    finally:
        await database.close()


def _configured(config_file: Path | None) -> tuple[str, str | None]:
    config, file = read_config(config_file)
    if config.ledger is None:
        where = f"{file} keeps no ledger" if file else "there is no configuration"
        raise config.source.error([Problem((), f"{where}; name one with --ledger sqlite:///usage.db")])
    return config.ledger.url, config.ledger.spool
