"""The tables are made at start, by whoever comes first."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from crplugins.keys.source import SourceUnavailable
from crplugins.keys.sql import SqlStore
from crplugins.keys.sql.database import VERSION_TABLE
from crplugins.keys.sql.rows import metadata
from crplugins.sql.engine import make_engine
from crplugins.sql.url import read_database_url
from tests.keys.conftest import make_key
from tests.warm import PYTHON


async def test_the_migrations_make_what_the_schema_declares(database_url):
    async with SqlStore(database_url):
        pass
    engine = await asyncio.to_thread(make_engine, read_database_url(database_url), 5)
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts=options), metadata)
        )
    await engine.dispose()
    assert differences == []


OPEN = """
import asyncio, sys
from crplugins.keys.sql import SqlStore
async def main():
    async with SqlStore(sys.argv[1]) as store:
        await store.list()
asyncio.run(main())
"""


async def test_processes_that_start_at_once_make_the_tables_once(database_url):
    start = asyncio.create_subprocess_exec
    command = [*PYTHON.command, "-c", OPEN, database_url]
    for process in [await start(*command, stderr=asyncio.subprocess.PIPE) for _ in range(4)]:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()


async def test_without_migrations_a_database_without_tables_is_unavailable(database_url):
    async with SqlStore(database_url, migrate=False) as store:
        with pytest.raises(SourceUnavailable):
            await store.list()


async def test_starting_again_changes_nothing(database_url):
    for _ in range(2):
        async with SqlStore(database_url) as store:
            if not await store.list():
                await store.add(make_key("team-a", "sk-a"))
    async with SqlStore(database_url, migrate=False) as store:
        assert len(await store.list()) == 1
