"""`crplugins usage partition`, and what `crplugins check --online` says of the months of a ledger."""

import asyncio
from datetime import UTC, date, datetime
from functools import partial

import pytest

from crplugins.cli.online import try_everything
from crplugins.config import parse_config
from crplugins.homes.upstream_choice import upstreams_of
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.partitions import month_after, month_of
from crplugins.ledger.schema import metadata
from crplugins.sql.engine import make_engine
from crplugins.sql.url import read_database_url
from tests.keys.conftest import NOW
from tests.ledger.test_partitions import execute, line, months_in
from tests.postgresql_setup import postgres_url, sqlite_url  # noqa: F401


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: a command has its event loop to itself, and may block it."""


@pytest.fixture
def command(in_process):
    return partial(in_process, "usage", "partition")


async def make_one_table(url):
    engine = make_engine(read_database_url(url), 60.0)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()


async def insert(url, *lines, migrate=True):
    database = LedgerDatabase(url, migrate=migrate)
    await database.insert(lines)
    await database.close()


def said_online(url):
    config = parse_config({"ledger": {"url": url}})
    ledger = asyncio.run(try_everything(config, upstreams_of(config), 30.0))[-1]
    return ledger.good, ledger.said


def test_one_table_is_divided_and_the_months_are_named(command, postgres_url):  # noqa: F811
    asyncio.run(make_one_table(postgres_url))
    asyncio.run(insert(postgres_url, line(NOW), migrate=False))
    assert said_online(postgres_url) == (
        True,
        "it answers; one table, which crplugins usage partition divides by month",
    )
    code, out, err = command("--ledger", postgres_url, "--months", 3)
    assert (code, err) == (0, "")
    assert out == "usage_until_2026_07 has every row before 2026-07-01\nusage_2026_07 is new\nusage_2026_08 is new\n"
    assert command("--ledger", postgres_url) == (0, "", "note: the ledger is divided by month already\n")
    assert said_online(postgres_url) == (True, "it answers; divided by month, made up to 2026-09-01")
    asyncio.run(execute(postgres_url, "CREATE TABLE rest PARTITION OF usage DEFAULT"))
    assert said_online(postgres_url)[0] is False


def test_the_months_of_a_ledger_that_a_gateway_has_made_are_said(postgres_url):  # noqa: F811
    assert said_online(postgres_url) == (True, "it answers; a gateway will make the ledger's tables when it starts")
    asyncio.run(insert(postgres_url, line(NOW)))
    behind = month_after(month_after(month_of(datetime.now(UTC))))
    assert said_online(postgres_url) == (True, f"it answers; divided by month, made up to {behind}")
    assert f"usage_{date(2026, 6, 1):%Y_%m}" in asyncio.run(months_in(postgres_url))


def test_what_cannot_be_divided_is_said(command, postgres_url, sqlite_url, tmp_path):  # noqa: F811
    (tmp_path / "gw.db").touch()
    code, out, err = command("--ledger", sqlite_url)
    assert (code, out, err) == (1, "", "a ledger in SQLite is one file, and has no partitions\n")
    code, out, err = command("--ledger", postgres_url)
    assert (code, out) == (1, "")
    assert "this database has no records" in err
    asyncio.run(make_one_table(postgres_url))
    asyncio.run(execute(postgres_url, "CREATE VIEW costs AS SELECT cost_micro_usd FROM usage"))
    code, out, err = command("--ledger", postgres_url)
    assert (code, out) == (1, "")
    assert "the view costs: drop what depends on the table" in err
    code, _, err = command("--ledger", "postgresql://me:secret@127.0.0.1:9/db")
    assert code == 1
    assert "works as before" in err
    assert "secret" not in err
