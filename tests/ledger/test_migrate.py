"""The tables are made at start, by whoever comes first."""

import asyncio

import msgspec
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from crplugins.keys.sql import SqlStore
from crplugins.ledger.database import MIGRATIONS, VERSION_TABLE, LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.schema import metadata, usage, usage_daily
from tests.ledger.conftest import SOON, make_record, rows_of, settled, totals_of, until
from tests.warm import PYTHON

BILL = ("provider_model", "service_tier", "cost_source", "provider_cost_micro_usd")
COLUMNS = (
    "request_id started_at ended_at key_id team user requested_model served_model provider stream status outcome "
    "error_type finish_reason input_tokens output_tokens cached_input_tokens cache_write_input_tokens "
    "reasoning_output_tokens usage_source cost_micro_usd attempts ttft_ms duration_ms overhead_us tags provider_model "
    "service_tier cost_source provider_cost_micro_usd"
)


def test_the_columns_are_those_that_are_promised():
    assert [column.name for column in usage.c] == COLUMNS.split()


async def test_the_migrations_make_what_the_schema_declares(open_ledger):
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    async with open_ledger() as ledger, ledger.reading() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts=options), metadata)
        )
    assert differences == []


async def test_a_ledger_of_an_older_release_keeps_its_rows_and_takes_records_of_both(
    database_url, open_ledger, blockbuster
):
    for function in blockbuster.functions.values():
        function.can_block_in("/ledger/test_migrate.py", {"_back_to"})
    async with open_ledger() as ledger:
        ledger.add(make_record(request_id="1", cost_micro_usd=7))
        await settled(ledger)
    database = LedgerDatabase(database_url)
    async with database.reading() as connection:
        await connection.run_sync(_back_to, "u0001")
        await connection.commit()
    line = msgspec.json.decode(encode(make_record(request_id="2", cost_micro_usd=8)))
    for name in BILL:
        del line[name]  # so it stands in a journal or a spool of that release
    async with open_ledger() as ledger:
        ledger.add(make_record(request_id="3"))
        await settled(ledger)
        await database.insert([msgspec.json.encode(line)])
        await database.close()
        rows, (day,) = await rows_of(ledger), await rows_of(ledger, usage_daily)
    assert [row["cost_micro_usd"] for row in rows] == [7, 8, 123]
    assert [[row[name] for name in BILL] for row in rows[:2]] == [[None] * 4] * 2
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
