"""Records that are not committed yet are counted all the same, each once, whichever process has them."""

import asyncio
from contextlib import closing
from datetime import UTC, datetime

import pytest

from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.journal import Journal
from crplugins.ledger.ledger import Ledger
from crplugins.ledger.question import Question
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.report import answer
from crplugins.ledger.spool import SpoolFile
from crplugins.ledger.waiting import MOST, read_waiting
from crplugins.ledger.writer import BATCH
from tests.ledger.conftest import NOON, ids_of, make_record, settled, until
from tests.ledger.test_journal import die
from tests.long import times

LONG = {"commit_seconds": 60.0}
"""Nobody waits so long: what such a ledger is given is in its journal alone, until it is closed."""

ALL = Question(["key", "model", "day"])


async def requests_in(ledger):
    return sum(line.requests for line in await ledger.answer(ALL))


async def test_a_record_is_counted_before_it_is_committed(open_ledger):
    async with open_ledger(**LONG) as ledger:
        ledger.add(make_record(cost_micro_usd=7, key_id="a"))
        (line,) = await ledger.answer(ALL)
        assert (line.group["key_id"], line.group["day"], line.requests, line.cost_micro_usd) == (
            "a", "2026-06-01", 1, 7,
        )  # fmt: skip
        assert await ledger.spent("key", "a", datetime.fromtimestamp(NOON, UTC)) == 7
        assert (ledger.pending, await ids_of(ledger)) == (1, [])
    async with open_ledger(**LONG) as ledger:
        assert await requests_in(ledger) == 1


async def test_every_process_on_the_machine_sees_what_the_others_have(open_ledger):
    async with open_ledger(**LONG) as first, open_ledger(**LONG) as second, open_ledger(**LONG) as third:
        for number, ledger in enumerate((first, second, second, third)):
            ledger.add(make_record(key_id=f"key-{number}"))
        assert [await requests_in(ledger) for ledger in (first, second, third)] == [4, 4, 4]


def leave(spool, journaled, spooled):
    """What a process that died has left."""
    dead = Journal.create(spool)
    for line in journaled:
        dead.append(line)
    die(dead)
    with closing(SpoolFile(spool)) as file:
        file.keep(spooled)


async def test_what_dead_processes_and_the_spool_have_is_counted(database_url, tmp_path):
    spool = tmp_path / "spool"
    records = [make_record() for _ in range(6)]
    lines = [encode(record) for record in records]
    database = LedgerDatabase(database_url)
    await database.insert(lines[:2])  # 0 and 1
    await asyncio.to_thread(leave, spool, journaled=lines[1:4], spooled=[*lines[3:], lines[5]])
    reader = LedgerReader(database, spool)
    assert [line.requests for line in await answer(reader, Question())] == [6]
    assert reader.uncounted == 0
    await database.close()


async def test_whoever_asks_while_others_commit_misses_none_and_counts_none_twice(open_ledger):
    """As many as had been added when it asked, and no more than when it was answered."""
    added = 0
    async with open_ledger() as writer, open_ledger() as other, open_ledger() as reader:

        async def add():
            nonlocal added
            while True:
                for ledger in (writer, other):
                    if ledger.pending < 300:
                        ledger.add(make_record(key_id=f"key-{added % 3}"))
                        added += 1
                await asyncio.sleep(0)

        adding = asyncio.create_task(add())
        await until(lambda: added > 100)
        for _ in range(times(8, 1000)):
            before = added
            counted = await requests_in(reader)
            assert before <= counted <= added
        adding.cancel()
        await settled(writer)
        await settled(other)
        assert await requests_in(reader) == added


def test_lines_of_a_segment_that_is_emptied_meanwhile_are_left_out(tmp_path, monkeypatch):
    """They are committed, and what stands there now may be half of one line and half of another."""
    from crplugins.ledger import journal as module

    journal = Journal.create(tmp_path / "spool")
    place = journal.append(encode(make_record()))
    assert len(module.read_journals(tmp_path / "spool")) == 1
    read = module._read_segment

    def emptied_after(*arguments):
        lines = read(*arguments)
        if place.pending:
            place.release()
            journal.append(encode(make_record()))
        return lines

    monkeypatch.setattr(module, "_read_segment", emptied_after)
    assert module.read_journals(tmp_path / "spool") == []
    journal.close()


def test_a_segment_is_read_to_its_end_however_full_it_is(tmp_path):
    from crplugins.ledger.journal import read_journals

    journal = Journal.create(tmp_path / "spool")
    lines = [encode(make_record()) for _ in range(3_000)]  # of several segments
    assert all(journal.append(line) for line in lines)
    assert read_journals(tmp_path / "spool") == lines
    journal.close()


def test_what_is_no_record_is_left_out(tmp_path):
    journal = Journal.create(tmp_path / "spool")
    for line in (
        b'{"request_id": "1"}',
        b"\xff\xff",
        b'{"request_id',
        b"[]",
        b'{"request_id": "1"}',
        b'{"request_id": "2"}',
    ):
        journal.append(line)
    assert list(read_waiting(tmp_path / "spool").lines) == [b'{"request_id": "1"}', b'{"request_id": "2"}']
    journal.close()


def test_of_a_spool_with_more_than_can_be_read_the_rest_is_told(tmp_path):
    with closing(SpoolFile(tmp_path / "spool")) as file:
        file.keep(b'{"request_id": "%d"}' % number for number in range(MOST + 5))
    found = read_waiting(tmp_path / "spool")
    assert (len(found.lines), found.more) == (MOST, 5)


@pytest.mark.parametrize("name", ["spool", "no/such/folder/spool"])
def test_where_nothing_waits_nothing_is_made(tmp_path, name):
    assert read_waiting(tmp_path / name).lines == []
    assert list(tmp_path.iterdir()) == []


async def test_files_that_cannot_be_read_are_told_and_the_rest_is_counted(open_ledger, tmp_path, caplog):
    async with open_ledger() as ledger:
        ledger.add(make_record())
        await settled(ledger)
        (tmp_path / "spool").write_bytes(b"this is no spool, and was not there when the ledger began" * 20)
        assert await requests_in(ledger) == 1
        (tmp_path / "spool").unlink()
    assert "are not counted" in caplog.text


@pytest.fixture
def commits(monkeypatch):
    """How many lines each commit had."""
    sizes = []
    insert = LedgerDatabase.insert

    async def counted(self, lines):
        sizes.append(len(lines))
        await insert(self, lines)

    monkeypatch.setattr(LedgerDatabase, "insert", counted)
    return sizes


async def test_records_are_committed_when_a_batch_is_full(open_ledger, commits):
    async with open_ledger(**LONG) as ledger:
        for _ in range(BATCH - 1):
            ledger.add(make_record())
            await asyncio.sleep(0)
        assert commits == []
        ledger.add(make_record())
        await settled(ledger)
        assert commits == [BATCH]


async def test_records_that_come_slowly_are_committed_together(open_ledger, commits):
    """Ten times as many records as there is time for commits."""
    async with open_ledger(commit_seconds=0.2) as ledger:
        begun = asyncio.get_running_loop().time()
        for _ in range(60):
            ledger.add(make_record())
            await asyncio.sleep(0.02)
        await settled(ledger)
        seconds = asyncio.get_running_loop().time() - begun
    assert sum(commits) == 60
    assert len(commits) <= 1 + seconds / 0.2


async def test_closing_commits_at_once_what_waits(open_ledger, commits):
    async with open_ledger(**LONG) as ledger:
        for _ in range(3):
            ledger.add(make_record())
        await asyncio.sleep(0)
    assert (commits, ledger.pending) == ([3], 0)
    async with open_ledger() as ledger:
        assert len(await ids_of(ledger)) == 3


async def test_the_default_is_a_second(sqlite_url, commits):
    async with Ledger(sqlite_url) as ledger:
        ledger.add(make_record())
        await settled(ledger)
        assert ledger._writer._commit_seconds == 1.0
