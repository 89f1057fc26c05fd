"""`crplugins usage copy`: every row of a ledger in another one, of the same kind or the other."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from crplugins.core.usage import TokenUsage
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.rows import EVERY_COLUMN, read_rows
from tests.keys.conftest import NOW
from tests.ledger.conftest import make_record
from tests.postgresql_setup import postgres_url, sqlite_url  # noqa: F401

RECORDS = [
    make_record(
        request_id=f"r-{number:04}",
        started_at=NOW.timestamp() - number * 3_001.234567,
        ended_at=NOW.timestamp() - number * 3_001.234567 + 0.000001,
        key_id=None if number % 7 == 0 else f"key-{number % 3}",
        cost_micro_usd=None if number % 5 == 0 else number,
        usage=TokenUsage(number, 2 * number),
        user='a "quoted" text\nof two lines, and ☃' if number % 2 else None,
        tags={"team": "ä", "n": str(number)} if number % 3 else {},
    )
    for number in range(1, 1201)
]


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: a command has its event loop to itself, and may block it."""


@pytest.fixture
def copy(in_process):
    return partial(in_process, "usage", "copy")


async def _inserted(url, records):
    database = LedgerDatabase(url)
    for begin in range(0, len(records), 200):
        await database.insert([encode(record) for record in records[begin : begin + 200]])
    await database.close()


async def _told(url, tmp_path):
    """Every row, and every sum as text. PostgreSQL keeps the members of `tags` in an order of its own."""
    database = LedgerDatabase(url, migrate=False)
    reader = LedgerReader(database, tmp_path / "no.spool")
    until = NOW + timedelta(days=1)
    found = [row async for rows in read_rows(reader, EVERY_COLUMN, None, until) for row in rows]
    sums = await database.fetch("SELECT * FROM usage_daily", {})
    await database.close()
    tags = EVERY_COLUMN.index("tags")
    rows = [(*row[:tags], json.loads(row[tags]), *row[tags + 1 :]) for row in found]
    return rows, sorted(tuple(map(str, each)) for each in sums)


@pytest.fixture(params=[("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")], ids="-".join)
def ledgers(request, tmp_path):
    """The URLs of the one that is copied and of the other."""

    def url(kind, name):
        return f"sqlite:///{tmp_path}/{name}.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")

    begin, end = request.param
    return url(begin, "first"), url(end, "other")


def test_rows_and_sums_are_the_same_and_a_second_time_changes_nothing(ledgers, tmp_path, copy):
    first, other = ledgers
    asyncio.run(_inserted(first, RECORDS))
    for _ in range(2):
        assert copy("--ledger", first, "--to", other) == (0, "1200 rows are in the other ledger\n", "")
        assert asyncio.run(_told(other, tmp_path)) == asyncio.run(_told(first, tmp_path))


def test_a_gateway_that_writes_into_the_new_one_already_loses_nothing(tmp_path, copy):
    first, other = f"sqlite:///{tmp_path}/first.db", f"sqlite:///{tmp_path}/other.db"
    asyncio.run(_inserted(first, RECORDS[:600]))
    asyncio.run(_inserted(other, RECORDS[500:]))
    assert copy("--ledger", first, "--to", other)[0] == 0
    asyncio.run(_inserted(whole := f"sqlite:///{tmp_path}/whole.db", RECORDS))
    assert asyncio.run(_told(other, tmp_path)) == asyncio.run(_told(whole, tmp_path))


def _forget(url, *, days):
    """What retention does: rows that are older go, and their sums stay."""

    async def delete():
        database = LedgerDatabase(url)
        await database.delete(datetime.combine(NOW.date() - timedelta(days=days), datetime.min.time(), UTC), 10_000)
        await database.close()

    asyncio.run(delete())


def test_of_days_whose_rows_are_deleted_the_sums_are_copied_once(ledgers, tmp_path, copy):
    first, other = ledgers
    asyncio.run(_inserted(first, RECORDS))
    _forget(first, days=10)
    for _ in range(2):
        code, out, err = copy("--ledger", first, "--to", other)
        assert (code, err) == (0, "note: of 32 days whose rows have been deleted the sums are in the other ledger\n")
        assert out.endswith(" rows are in the other ledger\n")
        assert asyncio.run(_told(other, tmp_path)) == asyncio.run(_told(first, tmp_path))


def test_rows_that_the_other_ledger_has_deleted_are_not_counted_twice(tmp_path, copy):
    first, other = f"sqlite:///{tmp_path}/first.db", f"sqlite:///{tmp_path}/other.db"
    asyncio.run(_inserted(first, RECORDS))
    assert copy("--ledger", first, "--to", other)[0] == 0
    _, before = asyncio.run(_told(other, tmp_path))
    _forget(other, days=10)
    assert copy("--ledger", first, "--to", other)[0] == 0
    rows, sums = asyncio.run(_told(other, tmp_path))
    assert sums == before
    assert len(rows) < len(RECORDS)


def test_a_day_of_which_some_rows_are_deleted_is_copied_whole(tmp_path, copy):
    first, other = f"sqlite:///{tmp_path}/first.db", f"sqlite:///{tmp_path}/other.db"
    asyncio.run(_inserted(first, RECORDS))

    async def begin_to_delete():
        database = LedgerDatabase(first)
        await database.delete(datetime.combine(NOW.date() - timedelta(days=10), datetime.min.time(), UTC), 510)
        await database.close()

    asyncio.run(begin_to_delete())
    for _ in range(2):
        assert copy("--ledger", first, "--to", other)[0] == 0
        assert asyncio.run(_told(other, tmp_path))[1] == asyncio.run(_told(first, tmp_path))[1]


@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        ("sqlite:///first.db", 1, "--to names the ledger itself\n"),
        ("sqlite:///./first.db", 1, "--to names the ledger itself\n"),
        ("mysql://x/y", 2, "--to"),
        ("sqlite:///no/such/folder/x.db", 1, "--to cannot be written, after 0 rows: "),
        ("postgresql://nobody@127.0.0.1:1/x", 1, "--to cannot be written, after 0 rows: "),
    ],
)
def test_what_cannot_be_copied_to_is_told_in_a_sentence(tmp_path, copy, to, code, said):
    asyncio.run(_inserted(f"sqlite:///{tmp_path}/first.db", RECORDS[:3]))
    ended, out, err = copy("--ledger", "sqlite:///first.db", "--to", to)
    assert (ended, out) == (code, "")
    assert err.startswith(said)
    assert err.count("\n") == 1
