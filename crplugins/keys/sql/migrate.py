"""Brings the tables to the newest schema. Several processes may do so at once: one does, the others wait for it."""

import asyncio
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

from crplugins.keys.sql.engine import WRITES, make_engine, set_up_sqlite

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x6372_706B_6579_7300  # any number, the same in every version
_TIMEOUT: Final = 60.0


async def migrate(url: URL) -> None:
    """In a thread: alembic reads its files, and runs synchronously."""
    await asyncio.to_thread(_migrate, url)


def _migrate(url: URL) -> None:
    if url.get_backend_name() == "sqlite":
        _migrate_sqlite(url)
    else:
        asyncio.run(_migrate_postgresql(make_engine(url, _TIMEOUT)))


def _migrate_sqlite(url: URL) -> None:
    """With the driver of the standard library, which needs no event loop."""
    engine = create_engine(url.set(drivername="sqlite"), connect_args={"timeout": _TIMEOUT})
    set_up_sqlite(engine)
    try:
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            _upgrade(connection)
    finally:
        engine.dispose()


async def _migrate_postgresql(engine: AsyncEngine) -> None:
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    """All in one transaction, under a lock that ends with it; SQLite's BEGIN IMMEDIATE is one already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
