"""While a database is away, slow, locked or full, no record is lost and no request waits."""

import asyncio
import sqlite3
import time

import pytest

from crplugins.ledger import database as database_module
from crplugins.ledger.ledger import Ledger
from tests.ledger.conftest import SOON, ids_of, make_record, settled, totals_of, until


@pytest.fixture
def locked(sqlite_url):
    """`with locked:` nobody else writes to the SQLite file."""

    class Lock:
        def __enter__(self):
            self.connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
            self.connection.execute("BEGIN IMMEDIATE")

        def __exit__(self, *_):
            self.connection.execute("ROLLBACK")
            self.connection.close()

    return Lock()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    monkeypatch.setattr(database_module, "TIMEOUT", 0.2)


async def test_postgresql_stopped_and_started_again_loses_none(postgres, postgres_url, tmp_path, caplog):
    async with Ledger(postgres_url, spool=tmp_path / "spool", retry_seconds=SOON, spool_above=100) as ledger:
        ids = []

        async def serve(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                record = make_record()
                ids.append(record.request_id)
                ledger.add(record)
                await asyncio.sleep(0.001)

        await serve(0.3)
        await asyncio.to_thread(postgres.stop)
        await serve(2)
        assert ledger.spooled > 0
        await asyncio.to_thread(postgres.start)
        await serve(0.5)
        await settled(ledger)
        assert await ids_of(ledger) == sorted(ids)
        assert await totals_of(ledger) == (len(ids), len(ids))
    assert (ledger.dropped, ledger.unjournaled) == (0, 0)
    assert caplog.text.count("records wait") == 1
    assert caplog.text.count("the ledger's database can be written again") == 1


async def test_a_locked_database_holds_nobody_up(sqlite_url, tmp_path, locked):
    ids = []
    async with Ledger(sqlite_url, spool=tmp_path / "spool", retry_seconds=SOON, spool_above=100) as ledger:
        slowest = 0.0
        with locked:
            for _ in range(1000):
                record = make_record()
                ids.append(record.request_id)
                begun = time.perf_counter()
                ledger.add(record)
                slowest = max(slowest, time.perf_counter() - begun)
                await asyncio.sleep(0)
            await until(lambda: ledger.spooled > 800)
        await settled(ledger)
        assert slowest < 0.1
        assert await ids_of(ledger) == sorted(ids)


async def test_leaving_while_the_database_is_locked_keeps_all_in_the_spool(sqlite_url, tmp_path, locked):
    ledger = Ledger(sqlite_url, spool=tmp_path / "spool", retry_seconds=SOON, drain_seconds=0.3)
    await ledger.__aenter__()
    with locked:
        for _ in range(500):
            ledger.add(make_record())
        begun = time.monotonic()
        await ledger.__aexit__(None, None, None)
        assert time.monotonic() - begun < 5
    assert (ledger.pending, ledger.spooled) == (0, 500)
    assert not list(tmp_path.glob("*.journal"))
    async with Ledger(sqlite_url, spool=tmp_path / "spool") as ledger:
        await settled(ledger)
        assert await totals_of(ledger) == (500, 500)
