"""The tables are made at start, by whoever comes first."""

import asyncio
import sqlite3
from contextlib import closing

import msgspec
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from crplugins.keys.sql import SqlStore
from crplugins.keys.sql.database import MIGRATIONS as KEY_MIGRATIONS
from crplugins.ledger.database import MIGRATIONS, VERSION_TABLE, LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.schema import metadata, usage, usage_daily
from crplugins.sql.migrate import migrate, newest_revision
from crplugins.sql.upgrade import upgrade
from crplugins.sql.url import read_database_url
from tests.ledger.conftest import SOON, make_record, rows_of, settled, totals_of, until
from tests.warm import PYTHON

BILL = ("provider_model", "service_tier", "cost_source", "provider_cost_micro_usd")
ADMISSION = ("asked_ms", "queued_ms", "admitted_ms", "settled_ms", "expected_input_tokens", "output_limit", "choices")
COLUMNS = (
    "request_id started_at ended_at key_id team user requested_model served_model provider stream status outcome "
    "error_type finish_reason input_tokens output_tokens cached_input_tokens cache_write_input_tokens "
    "reasoning_output_tokens usage_source cost_micro_usd attempts ttft_ms duration_ms overhead_us tags provider_model "
    "service_tier cost_source provider_cost_micro_usd asked_ms queued_ms admitted_ms settled_ms expected_input_tokens output_limit "
    "choices endpoint"
)


@pytest.fixture(autouse=True)
def alembic_may_block(blockbuster):
    for function in blockbuster.functions.values():
        function.can_block_in("/ledger/test_migrate.py", {"_back_to"})


def test_the_columns_are_those_that_are_promised():
    assert [column.name for column in usage.c] == COLUMNS.split()


async def test_the_migrations_make_what_the_schema_declares(open_ledger):
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    async with open_ledger() as ledger, ledger.reading() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts=options), metadata)
        )
    assert differences == []


async def test_a_ledger_of_an_older_release_keeps_its_rows_and_takes_records_of_both(database_url, open_ledger):
    async with open_ledger() as ledger:
        ledger.add(make_record(request_id="1", cost_micro_usd=7))
        await settled(ledger)
    database = LedgerDatabase(database_url)
    async with database.reading() as connection:
        await connection.run_sync(_back_to, "u0001")
        await connection.commit()
    line = msgspec.json.decode(encode(make_record(request_id="2", cost_micro_usd=8)))
    for name in (*BILL, *ADMISSION, "endpoint"):
        del line[name]  # so it stands in a journal or a spool of that release
    async with open_ledger() as ledger:
        ledger.add(make_record(request_id="3", endpoint="responses"))
        await settled(ledger)
        await database.insert([msgspec.json.encode(line)])
        await database.close()
        rows, (day,) = await rows_of(ledger), await rows_of(ledger, usage_daily)
    assert [row["cost_micro_usd"] for row in rows] == [7, 8, 123]
    assert [[row[name] for name in (*BILL, *ADMISSION)] for row in rows[:2]] == [[None] * 11] * 2
    assert [rows[2][name] for name in ADMISSION] == [0.5, 0.25, 1.5, 1501.0, 90, 300, 2]
    assert [row["endpoint"] for row in rows] == ["chat", None, "responses"]
    assert (rows[2]["cost_source"], rows[2]["provider_cost_micro_usd"]) == ("table", 121)
    assert (day["requests"], day["cost_micro_usd"], day["provider_cost_micro_usd"]) == (3, 138, 121)


def _back_to(connection, revision):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    command.downgrade(config, revision)


OPEN = """
import asyncio, sys
from crplugins.ledger.ledger import Ledger
from tests.ledger.conftest import make_record, settled
async def main():
    async with Ledger(sys.argv[1], spool=sys.argv[2]) as ledger:
        ledger.add(make_record())
        await settled(ledger)
asyncio.run(main())
"""


async def test_processes_that_start_at_once_make_the_tables_once(database_url, tmp_path, open_ledger):
    start = asyncio.create_subprocess_exec
    command = [*PYTHON.command, "-c", OPEN, database_url, str(tmp_path / "spool")]
    for process in [await start(*command, stderr=asyncio.subprocess.PIPE) for _ in range(4)]:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    async with open_ledger(migrate=False) as ledger:
        assert await totals_of(ledger) == (4, 4)


async def test_keys_and_ledger_share_a_database(database_url, open_ledger):
    async with SqlStore(database_url), open_ledger() as ledger:
        ledger.add(make_record())
        await settled(ledger)
    async with SqlStore(database_url) as store:
        assert await store.list() == []


async def test_without_migrations_records_wait_for_the_tables(open_ledger, caplog):
    async with open_ledger(migrate=False, retry_seconds=SOON) as ledger:
        ledger.add(make_record())
        await until(lambda: "records wait" in caplog.text)
        assert ledger.pending == 1
        async with open_ledger():
            pass
        await settled(ledger)
        assert await totals_of(ledger) == (1, 1)


def layout(file):
    """Columns and indexes of every table, as SQLite itself tells them."""
    with closing(sqlite3.connect(file)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        told = {}
        for table in tables:
            indexes = connection.execute(f"PRAGMA index_list({table})").fetchall()
            told[table] = (
                connection.execute(f"PRAGMA table_info({table})").fetchall(),
                sorted(
                    (name, unique, origin, connection.execute(f"PRAGMA index_info({name})").fetchall())
                    for _, name, unique, origin, _ in indexes
                ),
                connection.execute(f"SELECT * FROM {table}").fetchall(),
            )
        return told


async def test_a_new_file_gets_without_alembic_what_the_migrations_come_to(tmp_path):
    new, migrated = (read_database_url(f"sqlite:///{tmp_path / name}") for name in ("new.db", "migrated.db"))
    await migrate(new, MIGRATIONS, VERSION_TABLE, 0)
    await asyncio.to_thread(upgrade, migrated, MIGRATIONS, VERSION_TABLE, 0, 5.0)
    made, expected = await asyncio.to_thread(lambda: [layout(url.file) for url in (new, migrated)])
    assert made == expected


@pytest.mark.parametrize("migrations", [MIGRATIONS, KEY_MIGRATIONS])
def test_the_newest_revision_is_the_one_that_alembic_goes_to(migrations):
    config = Config()
    config.set_main_option("script_location", str(migrations))
    assert newest_revision(migrations) == ScriptDirectory.from_config(config).get_current_head()


async def test_alembic_is_loaded_for_old_tables_alone(database_url, open_ledger, monkeypatch):
    async with open_ledger():
        pass
    asked = []
    monkeypatch.setattr(command, "upgrade", lambda *_: asked.append("upgrade"))
    async with open_ledger():
        pass
    assert asked == []
    database = LedgerDatabase(database_url)
    async with database.reading() as connection:
        await connection.run_sync(_back_to, "u0001")
        await connection.commit()
    async with open_ledger():
        pass
    assert asked == ["upgrade"]


@pytest.mark.parametrize("other", ["CREATE TABLE usage (a)", "CREATE TABLE api_key (a)"])
async def test_a_file_with_other_tables_is_left_to_alembic(sqlite_url, tmp_path, other):
    """It knows which of them are its own; a table of the same name that is not is no ledger's."""

    def make():
        with closing(sqlite3.connect(tmp_path / "gw.db")) as connection:
            connection.execute(other)

    await asyncio.to_thread(make)
    database = LedgerDatabase(sqlite_url)
    if "usage" in other:
        with pytest.raises(OperationalError, match="already exists"):
            await database.prepare()
    else:
        await database.insert([encode(make_record())])
    await database.close()
