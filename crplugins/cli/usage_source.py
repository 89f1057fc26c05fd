"""The ledger that commands read: that of `--ledger`, else the one of the configuration."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from crplugins.cli.keys.source import read_config
from crplugins.cli.refused import Refused
from crplugins.config import ConfigError, Problem
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.errors import LedgerUnreadable, reason_of
from crplugins.ledger.ledger import spool_path
from crplugins.ledger.reader import LedgerReader

T = TypeVar("T")

_NO_TABLE = ("no such table", "does not exist")


@dataclass(frozen=True, slots=True)
class FoundLedger:
    """A ledger that is not connected yet."""

    database: LedgerDatabase
    spool: Path


def find_ledger(ledger: str | None, config_file: Path | None) -> FoundLedger:
    """Raises `ConfigError`."""
    url, spool = (ledger, None) if ledger is not None else _configured(config_file)
    try:
        database = LedgerDatabase(url, migrate=False)
    except (ValueError, ImportError) as error:
        raise ConfigError([Problem(("ledger",), str(error))]) from None
    if database.file is not None and not database.file.exists():
        raise ConfigError(
            [Problem((), "there is no such file; a gateway creates it when it starts")], str(database.file)
        )
    return FoundLedger(database, spool_path(database, spool))


class NoTables(Refused):
    """A server's database without the tables of a ledger, so without a record. A file without them is no ledger."""


async def ask(found: FoundLedger, question: Callable[[LedgerReader], Awaitable[T]]) -> T:
    """What the question finds. Prints to stderr how many records it cannot know. Raises `Refused`, and of it
    `NoTables`.
    """
    database = found.database
    try:
        reader = LedgerReader(database, found.spool)
        answer = await question(reader)
        _tell_of_more(reader.uncounted, found.spool)
    except LedgerUnreadable as error:
        reason = str(error)
        if "no such column" in reason or ("column" in reason and "does not exist" in reason):
            raise Refused("its tables are of an older release; a gateway migrates them when it starts") from None
        if any(words in reason for words in _NO_TABLE):
            kind = Refused if database.file else NoTables
            raise kind("this database has no records; a gateway creates their tables when it starts") from None
        raise Refused(f"the ledger cannot be read: {reason}") from None
    except (OSError, TimeoutError) as error:
        raise Refused(f"the ledger is unavailable: {reason_of(error)}") from None
    else:
        return answer
    finally:
        await database.close()


def _tell_of_more(more: int, spool: Path) -> None:
    if more:
        sys.stderr.write(f"note: {more} more records wait in {spool}; a gateway commits them when it runs\n")


def _configured(config_file: Path | None) -> tuple[str, str | None]:
    config, file = read_config(config_file)
    if config.ledger is None:
        where = "it keeps no ledger" if file else "there is no configuration"
        raise config.source.error([Problem((), f"{where}; name one with --ledger sqlite:///usage.db")])
    return config.ledger.url, config.ledger.spool
