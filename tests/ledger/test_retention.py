"""Rows that are older than they are kept go, a few at a time; the sums of their days stay."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from crplugins.config.metering import LedgerSection
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.question import Question
from crplugins.ledger.retention import Retention
from tests.ledger.conftest import NOON, ids_of, make_record, settled

DAY = 86_400
NOW = datetime.fromtimestamp(NOON, UTC)


@pytest.fixture
async def retention(database_url, tmp_path):
    """Keeps rows for ten days, as one of several processes."""
    databases = []

    def make(days=10, **options):
        databases.append(LedgerDatabase(database_url))
        return Retention(databases[-1], timedelta(days=days), tmp_path / "lock", **{"now": lambda: NOW} | options)

    yield make
    for database in databases:
        await database.close()


async def filled(ledger, ages):
    for number, age in enumerate(ages):
        began = NOON - age * DAY
        ledger.add(make_record(request_id=f"r-{number:03}", started_at=began, ended_at=began + 1))
    await settled(ledger)


async def test_whole_days_go_and_every_sum_is_what_it_was(open_ledger, retention):
    ages = [0, 1, 9, 10, 10.49, 10.6, 11, 40, 400]
    questions = [
        Question(by, since, until)
        for by in ([], ["key", "model"], ["day"], ["team", "provider", "served_model"])
        for since in (None, NOW - timedelta(days=365, hours=12), NOW - timedelta(days=5))
        for until in (None, NOW - timedelta(days=8, hours=12))
    ]
    async with open_ledger() as ledger:
        await filled(ledger, ages)
        before = [await ledger.answer(question) for question in questions]
        spent = await ledger.spent("key", "team-a", NOW - timedelta(days=500))
        await retention(batch=2).sweep()
        assert await ids_of(ledger) == [f"r-{number:03}" for number in range(5)]
        assert [await ledger.answer(question) for question in questions] == before
        assert await ledger.spent("key", "team-a", NOW - timedelta(days=500)) == spent == 9 * 123
        assert await retention().sweep() == 0


async def test_a_machine_whose_clock_is_ahead_deletes_nothing_of_a_server_that_knows_better(
    open_ledger, retention, database_url
):
    """As one that boots without a network. SQLite has no other clock."""
    today = datetime.now(UTC)
    async with open_ledger() as ledger:
        for number, age in enumerate([1, 9, 11]):
            began = (today - timedelta(days=age)).timestamp()
            ledger.add(make_record(request_id=f"r-{number:03}", started_at=began, ended_at=began + 1))
        await settled(ledger)
        await retention(now=lambda: today + timedelta(days=4000)).sweep()
        kept = [] if database_url.startswith("sqlite") else ["r-000", "r-001"]
        assert await ids_of(ledger) == kept


async def test_of_a_day_without_rows_all_hours_count(open_ledger, retention):
    async with open_ledger() as ledger:
        await filled(ledger, [0, 20])
        await retention().sweep()
        old = NOW - timedelta(days=20)
        for since, until in [(old + timedelta(hours=1), None), (None, old - timedelta(hours=1))]:
            (sums,) = await ledger.answer(Question(since=since, until=until, only={"key": "team-a"}))
            assert sums.requests == 1 + (until is None)
        hours = old + timedelta(hours=2), old + timedelta(hours=3)
        assert (await ledger.answer(Question([], *hours)))[0].requests == 1
        (by_user,) = await ledger.answer(Question(only={"user": "u-1"}))  # of which there are no daily sums
        assert by_user.requests == 1


async def test_a_record_that_is_sent_again_while_rows_go_changes_nothing(open_ledger, retention, database_url):
    database = LedgerDatabase(database_url)
    async with open_ledger() as ledger:
        await filled(ledger, [0, 1])
        await asyncio.gather(
            retention().sweep(),
            database.insert([encode(make_record(request_id="r-001", started_at=NOON - DAY, ended_at=NOON - DAY + 1))]),
        )
        assert (await ledger.answer(Question()))[0].requests == 2
    await database.close()


async def test_one_of_several_processes_does_it(open_ledger, retention):
    async with open_ledger() as ledger:
        await filled(ledger, [20] * 30)
        deleted = await asyncio.gather(*(retention(batch=5).sweep() for _ in range(3)))
    assert sorted(deleted) == [0, 0, 30]


async def test_traffic_does_not_wait_for_it(open_ledger, retention):
    """While 3,000 rows go in batches of 100, records come in and reports are answered again and again."""
    database = None
    async with open_ledger() as ledger:
        lines = [
            encode(make_record(request_id=f"o-{n:05}", started_at=NOON - 20 * DAY, ended_at=NOON - 20 * DAY + 1))
            for n in range(3000)
        ]
        database = ledger.reader._database
        for at in range(0, 3000, 500):
            await database.insert(lines[at : at + 500])
        sweeping = asyncio.create_task(retention(batch=100).sweep())
        number = 0
        while not sweeping.done():
            ledger.add(make_record(request_id=f"n-{number}", started_at=NOON, ended_at=NOON + 1))
            await settled(ledger)
            assert (await ledger.answer(Question()))[0].requests == 3001 + number
            number += 1
        assert await sweeping == 3000
        assert number >= 5  # a sweep without batches takes the lock for all of them


@pytest.mark.parametrize("days", ["6d", "0d", "400", "1y", "-7d", "400 d", "999999d", ""])
def test_what_is_no_number_of_days_is_refused(days):
    with pytest.raises(ValueError, match="400d"):
        LedgerSection(keep=days)


def test_the_words_of_the_configuration_are_days():
    assert LedgerSection(keep="400d").kept == timedelta(days=400)
    assert LedgerSection().kept is None
