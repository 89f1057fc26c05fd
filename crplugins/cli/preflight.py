"""What `crplugins serve` would find out at its start, on this machine and without a connection: files and the address.

Each sentence is the one that `serve` ends or warns with.
"""

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from crplugins.cli.refused import Refused
from crplugins.config import Config, ConfigError, Problem
from crplugins.keys.opening import parts_of
from crplugins.sql.url import DatabaseUrl, read_database_url

_SQLITE: Final = "sqlite:///"
_NO_DATABASE: Final = "it is no database of SQLite"


class StartFinding(msgspec.Struct, frozen=True):
    """One thing that is wrong. `stops`: the gateway would not start."""

    problem: Problem
    stops: bool


def findings(config: Config) -> Iterator[StartFinding]:
    """Looks at files, and makes none that stays."""
    yield from _certificate(config)
    yield from _limit_store(config)
    yield from _key_databases(config)
    yield from _ledger(config)
    yield from _sinks(config)


def require_files(config: Config) -> list[str]:
    """The warnings. Raises `ConfigError` for what the gateway would not start with."""
    for part in parts_of(config.keys):
        if "file" in part and not Path(str(part["file"])).exists():
            raise ConfigError([Problem((), "there is no such file")], str(part["file"]))
    found = list(findings(config))
    if stops := [finding.problem for finding in found if finding.stops]:
        raise config.source.error(stops)
    return [finding.problem.message for finding in found]


def address_warnings(config: Config) -> list[str]:
    """That the port is in use, by the gateway whose file is checked perhaps. Binds it for a moment.

    Raises `Refused` for an address that is none of this machine's.
    """
    from crplugins.cli.servers import bind

    if config.server.uds is not None:
        return []
    try:
        bind(config.server.host, config.server.port).close()
    except Refused as refused:
        if "is in use" not in str(refused):
            raise
        return [str(refused)]
    return []


def _certificate(config: Config) -> Iterator[StartFinding]:
    tls = config.server.tls
    if tls is not None and (problem := tls.problem()) is not None:
        yield StartFinding(Problem(("server", "tls"), problem), stops=True)


def _limit_store(config: Config) -> Iterator[StartFinding]:
    store = config.limits.store
    if not store.startswith(_SQLITE):
        return
    path = Path(store.removeprefix(_SQLITE))
    if (why := unusable(path)) is not None:
        said = "is damaged or no limit store at all" if why == _NO_DATABASE else f"cannot be opened: {why}"
        yield StartFinding(Problem(("limits", "store"), f"the limit store {path} {said}"), stops=True)


def _key_databases(config: Config) -> Iterator[StartFinding]:
    for part in parts_of(config.keys):
        if "sql" in part and (why := _unusable_database(url := read_database_url(str(part["sql"])))) is not None:
            yield StartFinding(Problem(("keys", "sql"), f"the database {url} cannot be asked: {why}"), stops=True)


def _ledger(config: Config) -> Iterator[StartFinding]:
    if config.ledger is None:
        return
    url = read_database_url(config.ledger.url)
    from crplugins.ledger.database import LedgerDatabase  # the ledger's modules, which are needed only here
    from crplugins.ledger.ledger import spool_path

    spool = spool_path(LedgerDatabase(config.ledger.url, migrate=False), config.ledger.spool)
    if (text := _no_journal(spool)) is not None:
        yield StartFinding(Problem(("ledger",), text), stops=True)
    elif (why := _unusable_database(url, folder_is_made=True)) is not None:
        text = f"the ledger's database {url} cannot be opened, and records wait: {why}"
        yield StartFinding(Problem(("ledger", "url"), text), stops=False)


def _sinks(config: Config) -> Iterator[StartFinding]:
    for kind, section in config.sinks.present().items():
        if (text := section.file_problem() or _no_journal(Path(section.spool))) is not None:
            yield StartFinding(Problem(("sinks", kind), text), stops=True)


def _no_journal(spool: Path) -> str | None:
    why = _no_room(_nearest_folder(spool))
    return None if why is None else f"the journal of usage records cannot be created beside {spool}: {why}"


def _unusable_database(url: DatabaseUrl, *, folder_is_made: bool = False) -> str | None:
    return None if url.file is None or url.uri is not None else unusable(url.file, folder_is_made=folder_is_made)


def unusable(path: Path, *, folder_is_made: bool = False) -> str | None:
    """Why SQLite could not read and write the file, or make it; None if it could.

    A reload asks too, in a process that has the file open. Only SQLite may open and close it there: whoever else does
    lets go of the locks of the whole process (POSIX), and the next process that closes the file then takes away the
    write-ahead log into which this one goes on to write.
    """
    path = Path(os.path.realpath(path))  # through a symlink SQLite makes the file that it names
    if path.is_symlink():
        return os.strerror(errno.ELOOP)
    if not path.exists():
        return _no_room(_nearest_folder(path) if folder_is_made else path.parent)
    if path.is_dir():
        return os.strerror(errno.EISDIR)
    if not os.access(path, os.R_OK | os.W_OK):
        return os.strerror(errno.EACCES)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        return _NO_DATABASE if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB else None
    return None


def _nearest_folder(path: Path) -> Path:
    """The folder of the file, or the nearest around it that is there."""
    folder = Path(os.path.realpath(path)).parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _no_room(folder: Path) -> str | None:
    """Why no file could be made in the folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__
