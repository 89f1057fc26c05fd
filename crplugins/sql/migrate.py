"""Migrates tables to their newest schema. If several processes do so at once, one migrates and the others wait.

Tables that are at the newest revision already, as at nearly every start, cost one question: alembic is not loaded. Nor
is it for a new file of SQLite, where a schema has its newest tables written down beside its migrations.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from crplugins.sql.url import DatabaseUrl

NEWEST: Final = "newest.sql"
"""Beside `versions`: the statements that make in an empty file of SQLite what all migrations come to."""


async def migrate(
    url: DatabaseUrl, script_location: Path, version_table: str, lock: int, *, patience: float = 60.0
) -> None:
    """Migrates in a thread, because alembic reads files and is synchronous.

    Args:
        script_location: the folder with alembic's `versions` and `env.py`, which reads `connection` and `version_table`
            from the attributes of its configuration.
        version_table: this schema's own table, because the database may hold other tables that alembic migrates.
        lock: a 64-bit number that belongs to this schema: the process that holds it on PostgreSQL migrates.
        patience: seconds for a connection, for a statement, and for the lock.
    """
    await asyncio.to_thread(_migrate, url, script_location, version_table, lock, patience)


def newest_revision(script_location: Path) -> str:
    """The last of `versions/u0001_name.py`, `u0002_name.py` and so on."""
    return max(file.stem.partition("_")[0] for file in (script_location / "versions").glob("[!_]*.py"))


def _migrate(url: DatabaseUrl, script_location: Path, version_table: str, lock: int, timeout: float) -> None:
    if url.backend == "sqlite" and _is_newest(url, script_location, version_table, timeout):
        return
    from crplugins.sql.upgrade import upgrade  # SQLAlchemy and alembic, 40 MB

    upgrade(url, script_location, version_table, lock, timeout)


def _is_newest(url: DatabaseUrl, script_location: Path, version_table: str, timeout: float) -> bool:
    """Whether the tables of a file of SQLite are the newest; in an empty file they are made. Needs no SQLAlchemy."""
    newest = script_location / NEWEST
    with closing(sqlite3.connect(**url.sqlite_arguments(), timeout=timeout, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        if not _tables(connection) and newest.exists():
            connection.execute("BEGIN IMMEDIATE")
            if not _tables(connection):  # else another process was faster
                for statement in newest.read_text(encoding="utf-8").split(";\n"):
                    connection.execute(statement)
            connection.execute("COMMIT")
        if version_table not in _tables(connection):
            return False
        row = connection.execute(f"SELECT version_num FROM {version_table}").fetchone()  # noqa: S608  # our own name
    return row is not None and row[0] == newest_revision(script_location)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
