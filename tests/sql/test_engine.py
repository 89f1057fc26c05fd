"""Connections: SQLite files that several processes share."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Column, MetaData, Table, insert, select, text

from crplugins.sql.engine import WRITES, make_engine
from crplugins.sql.url import read_database_url
from crplugins.sql.utc_time import UtcTime


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
async def test_a_file_of_sqlite_has_a_write_ahead_log_and_waits_for_the_disk_as_told(sqlite_url, synchronous, number):
    engine = await asyncio.to_thread(make_engine, read_database_url(sqlite_url), 1, synchronous=synchronous)
    async with engine.connect() as connection:
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar_one() == number
    await engine.dispose()


async def test_a_writer_takes_the_lock_when_it_begins(sqlite_url):
    engine = await asyncio.to_thread(make_engine, read_database_url(sqlite_url), 0.05)
    writing = engine.execution_options(**{WRITES: True})
    async with writing.begin(), engine.connect() as reader:
        await reader.execute(text("SELECT 1"))
        with pytest.raises(Exception, match="locked"):
            async with writing.begin():
                pass
    await engine.dispose()


async def test_an_instant_comes_back_in_utc_whatever_the_database(database_url):
    moment = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    metadata = MetaData()
    table = Table("moments", metadata, Column("at", UtcTime))
    engine = await asyncio.to_thread(make_engine, read_database_url(database_url), 5)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(insert(table), [{"at": moment}, {"at": None}])
        found = (await connection.execute(select(table.c.at))).scalars().all()
    await engine.dispose()
    assert found == [moment, None]
    assert found[0].tzinfo is UTC
