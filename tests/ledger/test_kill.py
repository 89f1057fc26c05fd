"""A process that is killed has lost no record that `add` has taken."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest

from crplugins.ledger.ledger import Ledger
from tests.ledger.conftest import ids_of, settled, totals_of
from tests.long import times
from tests.warm import PYTHON

CHECKOUT = Path(__file__).parents[2]

ADD = """
import asyncio, os, sys
from crplugins.ledger.ledger import Ledger
from tests.ledger.conftest import make_record

async def main(url, spool):
    async with Ledger(url, spool=spool) as ledger:
        ids = []
        while True:
            for _ in range(20):  # requests that end in one turn of the event loop
                record = make_record()
                ledger.add(record)
                os.write(1, record.request_id.encode() + b"\\n")
            await asyncio.sleep(0.01 if "slowly" in sys.argv else 0)
            while ledger.pending > 3_000 and "slowly" not in sys.argv:
                await asyncio.sleep(0)

asyncio.run(main(*sys.argv[1:3]))
"""


class Adding:
    """A process that adds records as fast as they are committed, and says which; "slowly": 2,000 in a second."""

    def __init__(self, url, spool, *how):
        command = [*PYTHON.command, "-c", ADD, url, str(spool), *how]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=CHECKOUT)
        self._said = b""

    def at_work(self):
        """This, once it has said a hundred, however busy the machine is."""
        while self._said.count(b"\n") <= 100:
            more = os.read(self.process.stdout.fileno(), 4096)
            assert more, "it has ended"
            self._said += more
        return self

    def kill(self, number=signal.SIGKILL):
        """At some moment of its work. The ids it has said, whole lines only."""
        self.at_work()
        killer = threading.Timer(random.uniform(0.1, 0.6), self.process.send_signal, [number])
        killer.start()
        more, _ = self.process.communicate(timeout=60)
        killer.join()
        return (self._said + more).decode().split("\n")[:-1]


async def found(url, spool):
    """All ids in the database after the next start."""
    async with Ledger(url, spool=spool) as ledger:
        await settled(ledger)
        ids = await ids_of(ledger)
        assert await totals_of(ledger) == (len(ids), len(ids))
    return ids


@pytest.mark.parametrize("round_", range(times(1, 20)))
async def test_sigkill_loses_no_record(database_url, tmp_path, round_):
    spool = tmp_path / "spool"
    said = Adding(database_url, spool).kill()
    assert list(tmp_path.glob("*.journal"))
    ids = await found(database_url, spool)
    assert len(said) > 100
    assert set(said) <= set(ids)
    assert len(ids) - len(said) <= 1  # it may have died between adding and saying
    assert not list(tmp_path.glob("*.journal"))


async def test_sigkill_while_the_database_is_locked_loses_no_record(sqlite_url, tmp_path):
    spool = tmp_path / "spool"
    adding = Adding(sqlite_url, spool, "slowly").at_work()
    lock = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    said = adding.kill()
    lock.execute("ROLLBACK")
    lock.close()
    ids = await found(sqlite_url, spool)
    assert set(said) <= set(ids)


async def test_several_that_are_killed_leave_all_they_had_to_one(database_url, tmp_path):
    spool = tmp_path / "spool"
    processes = [Adding(database_url, spool) for _ in range(3)]
    await asyncio.gather(*(asyncio.to_thread(process.at_work) for process in processes))
    each = await asyncio.gather(*(asyncio.to_thread(process.kill) for process in processes))
    said = [record_id for ids in each for record_id in ids]
    ids = await found(database_url, spool)
    assert set(said) <= set(ids)
    assert len(ids) - len(said) <= 3


async def test_a_start_beside_a_living_process_takes_nothing_from_it(sqlite_url, tmp_path):
    spool = tmp_path / "spool"
    adding = Adding(sqlite_url, spool).at_work()
    async with Ledger(sqlite_url, spool=spool) as ledger:
        await settled(ledger)
        assert len(list(tmp_path.glob("*.journal"))) == 2
    said = adding.kill()
    assert set(said) <= set(await found(sqlite_url, spool))
