"""While a database is away, slow, locked or full, no record is lost and no request waits."""

import asyncio
import logging
import re
import shutil
import sqlite3
import threading
import time
from contextlib import closing

import asyncpg
import pytest

from crplugins.ledger import database as database_module
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.journal import Journal
from crplugins.ledger.ledger import Ledger
from crplugins.ledger.spool import SpoolFile, SpoolUnusable
from crplugins.ledger.writer import BATCH
from crplugins.testing.clock import FrozenClock
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
    told = caplog.text.count("records wait")  # not at each attempt, of which there were dozens
    assert 1 <= told <= 3, "one outage, and on a busy machine an insert that took longer than this test's patience"
    assert len(re.findall(r"the ledger's database (sqlite|postgresql)\S+ can be written again", caplog.text)) == told


async def test_connections_to_a_server_that_has_become_a_replica_are_left(postgres_url, tmp_path, caplog):
    """As a failover leaves them behind: alive, and read-only, while new ones lead to a server that can be written."""

    async def new_connections(word):
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("SET default_transaction_read_only = off")
        database = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {database} {word}")
        await connection.close()

    async with Ledger(postgres_url, spool=tmp_path / "spool") as ledger:
        ledger.add(make_record())
        await settled(ledger)
    await new_connections("SET default_transaction_read_only = on")
    async with Ledger(postgres_url, spool=tmp_path / "spool", retry_seconds=SOON, migrate=False) as ledger:
        ledger.add(make_record())
        await until(lambda: "read-only transaction" in caplog.text)
        await new_connections("RESET default_transaction_read_only")
        await settled(ledger)
        assert await totals_of(ledger) == (2, 2)


async def test_a_locked_database_delays_no_request(sqlite_url, tmp_path, locked):
    ids = []
    async with Ledger(sqlite_url, spool=tmp_path / "spool", retry_seconds=SOON, spool_above=100) as ledger:
        with locked:  # blockbuster would see whoever waited for it on the event loop
            for _ in range(1000):
                record = make_record()
                ids.append(record.request_id)
                ledger.add(record)
                await asyncio.sleep(0)
            await until(lambda: ledger.spooled >= 1000 - 100 - BATCH)  # a batch is with the database meanwhile
        await settled(ledger)
        assert await ids_of(ledger) == sorted(ids)


async def test_leaving_while_the_database_is_locked_keeps_all_in_the_spool(sqlite_url, tmp_path, locked):
    ledger = Ledger(sqlite_url, spool=tmp_path / "spool", retry_seconds=SOON, drain_seconds=0.3)
    await ledger.__aenter__()
    with locked:
        for _ in range(500):
            ledger.add(make_record())
        async with asyncio.timeout(60):
            await ledger.__aexit__(None, None, None)
    assert (ledger.pending, ledger.spooled) == (0, 500)
    assert not list(tmp_path.glob("*.journal"))
    async with Ledger(sqlite_url, spool=tmp_path / "spool") as ledger:
        await settled(ledger)
        assert await totals_of(ledger) == (500, 500)


@pytest.fixture
def down(monkeypatch):
    """`down.set()`: no database takes anything; `down.clear()`: it does again."""
    state = threading.Event()
    insert = LedgerDatabase.insert

    async def maybe(self, lines):
        if state.is_set():
            raise ConnectionRefusedError("down")
        await insert(self, lines)

    monkeypatch.setattr(LedgerDatabase, "insert", maybe)
    return state


async def test_replaying_a_spool_twice_changes_nothing(open_ledger, tmp_path, down):
    down.set()
    ledger = await open_ledger(drain_seconds=0.3).__aenter__()
    for _ in range(300):
        ledger.add(make_record())
    await ledger.__aexit__(None, None, None)
    assert ledger.spooled == 300
    shutil.copy(tmp_path / "spool", tmp_path / "copy")
    down.clear()
    for _ in range(2):
        shutil.copy(tmp_path / "copy", tmp_path / "spool")
        async with open_ledger() as again:
            assert again.spooled == 300
            await settled(again)
            assert await totals_of(again) == (300, 300)


async def test_a_few_records_wait_in_memory_and_journal_and_need_no_spool(open_ledger, tmp_path, down):
    down.set()
    async with open_ledger(retry_seconds=SOON) as ledger:
        for _ in range(50):
            ledger.add(make_record())
        await asyncio.sleep(0.1)
        assert (ledger.pending, ledger.spooled, ledger.unjournaled) == (50, 0, 0)
        down.clear()
        await settled(ledger)
        assert await totals_of(ledger) == (50, 50)
    assert not (tmp_path / "spool").exists()


async def test_a_database_that_is_not_there_at_the_start_is_waited_for(postgres_url, tmp_path, caplog):
    nowhere = postgres_url.replace("/test_", "/missing_")
    async with Ledger(nowhere, spool=tmp_path / "spool", retry_seconds=SOON, drain_seconds=0.3) as ledger:
        ledger.add(make_record())
        await asyncio.sleep(0.05)
        assert ledger.pending == 1
    assert ledger.spooled == 1
    assert "cannot be opened, and records wait" in caplog.text
    async with Ledger(postgres_url, spool=tmp_path / "spool") as ledger:
        await settled(ledger)
        assert await totals_of(ledger) == (1, 1)


async def test_without_database_and_spool_what_does_not_fit_is_counted_and_said_each_minute(
    open_ledger, tmp_path, down, caplog
):
    down.set()
    (tmp_path / "spool").mkdir()
    clock = FrozenClock()
    ledger = open_ledger(queue_size=100, retry_seconds=SOON, drain_seconds=0.3, clock=clock)
    with pytest.raises(SpoolUnusable, match=f"{tmp_path}/spool cannot be used"):
        await ledger.__aenter__()
    (tmp_path / "spool").rmdir()
    ledger = await open_ledger(queue_size=100, retry_seconds=SOON, drain_seconds=0.3, clock=clock).__aenter__()
    (tmp_path / "spool").mkdir()
    for _ in range(150):
        ledger.add(make_record())
    assert (ledger.pending, ledger.dropped) == (100, 50)
    clock.advance(61)
    ledger.add(make_record())
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL] == [
        f"records are lost, 1 so far: neither {ledger._name} nor the spool can be written",
        f"records are lost, 51 so far: neither {ledger._name} nor the spool can be written",
    ]
    await ledger.__aexit__(None, None, None)
    assert "100 records are kept in the journal alone" in caplog.text
    (tmp_path / "spool").rmdir()
    down.clear()
    async with open_ledger() as again:
        await settled(again)
        assert await totals_of(again) == (100, 100)


async def test_a_folder_that_cannot_be_used_is_said_at_the_start(sqlite_url, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SpoolUnusable, match="file/spool"):
        await Ledger(sqlite_url, spool=tmp_path / "file" / "spool").__aenter__()


async def test_a_line_that_no_database_takes_is_quarantined_and_the_others_are_committed(open_ledger, tmp_path, caplog):
    good = [encode(make_record()) for _ in range(20)]
    bad = [
        b'{"request_id": null}',
        encode(make_record()).replace(b'"attempts":1,', b'"attempts":%d,' % 10**30),
        encode(make_record(started_at=1e15)),
        b"no json",
    ]
    assert b'"attempts":1000' in bad[1]
    with closing(SpoolFile(tmp_path / "spool")) as file:
        await asyncio.to_thread(file.keep, [*good[:7], *bad[:-1], *good[7:], bad[-1]])
    async with open_ledger() as ledger:
        await settled(ledger)
        assert await totals_of(ledger) == (20, 20)
    with closing(sqlite3.connect(tmp_path / "spool")) as spool:
        refused = [line for (line,) in spool.execute("SELECT line FROM refused ORDER BY id")]
    assert refused == [line.decode() for line in bad]
    assert caplog.text.count("quarantined") == len(bad)


async def test_a_hanging_database_does_not_keep_a_process_from_ending(open_ledger, tmp_path, monkeypatch):
    async def hang(self, lines):
        await asyncio.sleep(3600)

    ledger = await open_ledger(drain_seconds=0.3).__aenter__()
    monkeypatch.setattr(LedgerDatabase, "insert", hang)
    for _ in range(10):
        ledger.add(make_record())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        await ledger.__aexit__(None, None, None)
    assert (ledger.pending, ledger.spooled) == (0, 10)


async def test_a_slow_database_gets_what_it_can_and_the_rest_later(open_ledger, monkeypatch):
    insert = LedgerDatabase.insert
    slow = True

    async def slowly(self, lines):
        await asyncio.sleep(0.2 if slow else 0)
        await insert(self, lines)

    monkeypatch.setattr(LedgerDatabase, "insert", slowly)
    async with open_ledger(spool_above=500) as ledger:
        for _ in range(3000):
            ledger.add(make_record())
            await asyncio.sleep(0)
        await until(lambda: ledger.spooled > 1000)
        slow = False
        await settled(ledger)
        assert await totals_of(ledger) == (3000, 3000)
    assert (ledger.dropped, ledger.unjournaled) == (0, 0)


async def test_a_journal_that_is_full_loses_nothing_of_a_process_that_lives(open_ledger, monkeypatch):
    monkeypatch.setattr(Journal.create.__func__, "__kwdefaults__", {"segment_bytes": 4096, "segments": 2})
    async with open_ledger() as ledger:
        for _ in range(100):
            ledger.add(make_record())
        assert ledger.unjournaled > 80
        await settled(ledger)
        assert await totals_of(ledger) == (100, 100)
