"""Migrates tables to their newest schema. If several processes do so at once, one migrates and the others wait."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

from crplugins.sql.engine import WRITES, make_engine, set_up_sqlite
from crplugins.sql.url import DatabaseUrl

_Upgrade = Callable[[Connection], None]


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
    upgrade = partial(_upgrade, script_location, version_table, lock)
    await asyncio.to_thread(_migrate, url, upgrade, patience)


def _migrate(url: DatabaseUrl, upgrade: _Upgrade, timeout: float) -> None:
    if url.backend == "sqlite":
        _migrate_sqlite(url, upgrade, timeout)
    else:
        asyncio.run(_migrate_postgresql(make_engine(url, timeout), upgrade))


def _migrate_sqlite(url: DatabaseUrl, upgrade: _Upgrade, timeout: float) -> None:
    """Uses the driver of the standard library, which needs no event loop."""
    engine = create_engine(url.engine.set(drivername="sqlite"), connect_args={"timeout": timeout})
    set_up_sqlite(engine)
    try:
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            upgrade(connection)
    finally:
        engine.dispose()


async def _migrate_postgresql(engine: AsyncEngine, upgrade: _Upgrade) -> None:
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


def _upgrade(script_location: Path, version_table: str, lock: int, connection: Connection) -> None:
    """All in one transaction, under a lock that ends with it. SQLite needs none: BEGIN IMMEDIATE locks the file."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": lock})
    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=version_table)
    command.upgrade(config, "head")
