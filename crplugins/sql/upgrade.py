"""Runs alembic's migrations on SQLite or PostgreSQL. Blocks: call it in a thread."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

from crplugins.sql.engine import WRITES, make_engine, set_up_sqlite
from crplugins.sql.migrate import newest_revision
from crplugins.sql.url import DatabaseUrl

_Upgrade = Callable[[Connection], None]


def upgrade(url: DatabaseUrl, script_location: Path, version_table: str, lock: int, timeout: float) -> None:
    """The arguments are those of `crplugins.sql.migrate.migrate`."""
    run = partial(_upgrade, script_location, version_table, lock)
    if url.backend == "sqlite":
        _upgrade_sqlite(url, run, timeout)
    else:
        asyncio.run(_upgrade_postgresql(make_engine(url, timeout), run))


def _upgrade_sqlite(url: DatabaseUrl, run: _Upgrade, timeout: float) -> None:
    """Uses the driver of the standard library, which needs no event loop."""
    engine = create_engine(url.engine.set(drivername="sqlite"), connect_args={"timeout": timeout})
    set_up_sqlite(engine)
    try:
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            run(connection)
    finally:
        engine.dispose()


async def _upgrade_postgresql(engine: AsyncEngine, run: _Upgrade) -> None:
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


def _upgrade(script_location: Path, version_table: str, lock: int, connection: Connection) -> None:
    """All in one transaction, under a lock that ends with it. SQLite needs none: BEGIN IMMEDIATE locks the file."""
    if connection.dialect.name == "postgresql":
        if _postgresql_revision(connection, version_table) == newest_revision(script_location):
            return
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": lock})
    from alembic import command  # loaded for tables that are new or old
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=version_table)
    command.upgrade(config, "head")


def _postgresql_revision(connection: Connection, version_table: str) -> str | None:
    if connection.execute(text("SELECT to_regclass(:name)::text"), {"name": version_table}).scalar() is None:
        return None
    revision = connection.execute(text(f"SELECT version_num FROM {version_table}")).scalar()  # noqa: S608  # our own name
    return None if revision is None else str(revision)
