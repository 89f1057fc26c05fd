"""A ledger in PostgreSQL is divided by month: who makes the months, who drops them, and which of them a report reads."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest

from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.errors import LinesRefused
from crplugins.ledger.partitions import month_after, month_of
from crplugins.ledger.postgresql import PostgresqlTables
from crplugins.ledger.question import GROUPS, Question
from crplugins.ledger.retention import Retention
from crplugins.sql.url import read_database_url
from tests.ledger.conftest import NOON, ids_of, make_record, settled, totals_of

DAY = 86_400
NOW = datetime.fromtimestamp(NOON, UTC)


@pytest.fixture
def database_url(postgres_url):  # what the other fixtures of this folder use
    return postgres_url


@pytest.fixture
async def database(postgres_url):
    database = LedgerDatabase(postgres_url)
    await database.prepare()
    yield database
    await database.close()


def line(moment, **fields):
    began = moment.timestamp() if isinstance(moment, datetime) else moment
    return encode(make_record(started_at=began, ended_at=began + 1, **fields))


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@asynccontextmanager
async def connected(url):
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def months_in(url):
    """The names of the partitions, in the order of time."""
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT CAST(inhrelid AS regclass)::text AS name FROM pg_inherits "
                                      "WHERE inhparent = 'usage'::regclass")  # fmt: skip
    return sorted(row["name"] for row in rows)


async def counts_in(url):
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT tableoid::regclass::text AS name, count(*) AS n FROM usage GROUP BY 1")
    return {row["name"]: row["n"] for row in rows}


async def execute(url, *statements):
    async with connected(url) as connection:
        for statement in statements:
            await connection.execute(statement)


def name_of(url):
    return urlsplit(url).path.removeprefix("/")


def ahead(moment):
    month = month_of(moment)
    return [f"usage_{each:%Y_%m}" for each in (month, month_after(month))]


async def test_the_first_record_makes_its_month_and_this_one_and_the_next(database, postgres_url):
    await database.insert([line(NOW)])
    assert await months_in(postgres_url) == sorted({*ahead(datetime.now(UTC)), "usage_2026_06"})


async def test_a_month_is_that_of_utc_to_the_microsecond_whatever_zone_the_server_is_in(postgres_url):
    name = name_of(postgres_url)
    await execute(postgres_url, f"ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'",
                  f"ALTER DATABASE {name} SET datestyle = 'SQL, DMY'")  # fmt: skip
    database = LedgerDatabase(postgres_url)
    for moment in ("2026-02-28T23:59:59.999999", "2026-03-01", "2026-03-31T23:59:59.999999", "2026-04-01"):
        await database.insert([line(at(moment))])
        await database.insert([line(at(moment))])
    counts = await counts_in(postgres_url)
    assert counts == {"usage_2026_02": 2, "usage_2026_03": 4, "usage_2026_04": 2}
    await database.close()


async def test_a_batch_over_many_months_makes_each_and_counts_each_record_once(database, postgres_url):
    """As a spool may hold it after a long outage, and a machine whose clock is wrong."""
    moments = ["1970-01-01", "2024-12-31T23:59:59", "2025-01-01", "2026-06-01T12:00:00", "2099-07-01", "2025-01-31"]
    lines = [line(at(moment)) for moment in moments]
    for _ in range(2):
        await database.insert(lines)
    counts = await counts_in(postgres_url)
    assert counts == {
        "usage_1970_01": 1, "usage_2024_12": 1, "usage_2025_01": 2, "usage_2026_06": 1, "usage_2099_07": 1,
    }  # fmt: skip


async def test_a_process_that_sleeps_over_ends_of_months_goes_on(postgres_url, database):
    clock = [at("2026-10-31T12:00:00").timestamp()]
    tables = PostgresqlTables(read_database_url(postgres_url), now=lambda: clock[0])

    async def insert():
        await tables.insert([line(clock[0])], 5.0)
        return await months_in(postgres_url)

    assert await insert() == ["usage_2026_10", "usage_2026_11"]
    clock[0] = at("2026-11-01T00:00:00").timestamp()
    assert await insert() == ["usage_2026_10", "usage_2026_11", "usage_2026_12"]
    clock[0] = at("2027-12-31T23:59:59").timestamp()
    assert (await insert())[3:] == ["usage_2027_12", "usage_2028_01"]
    await tables.close()


async def test_processes_that_need_the_same_months_at_once_make_each_once(postgres_url, database):
    async def process(number):
        other = LedgerDatabase(postgres_url, migrate=False)
        months = [month % 12 + 1 for month in range(number, number + 12)]
        for month in months:
            await other.insert([line(datetime(2025, month, 15, tzinfo=UTC))])
        await other.close()

    await asyncio.gather(*map(process, range(6)))
    counts = await counts_in(postgres_url)
    assert counts == {f"usage_2025_{month:02}": 6 for month in range(1, 13)}


async def test_who_writes_and_reads_does_not_wait_while_a_month_is_made(postgres_url, database):
    """Both have begun a transaction over the table, and end it later."""
    await database.insert([line(NOW)])
    async with connected(postgres_url) as writer, connected(postgres_url) as reader:
        await writer.execute("BEGIN")
        await writer.execute("UPDATE usage SET status = 201")
        await reader.execute("BEGIN")
        assert await reader.fetchval("SELECT count(*) FROM usage") == 1
        await database.insert([line(at("2025-03-01"))])
        assert sum((await counts_in(postgres_url)).values()) == 2
        await writer.execute("COMMIT")


async def test_a_month_that_an_operator_has_detached_is_left_alone(postgres_url, database):
    moment = at("2026-03-10")
    await database.insert([line(moment)])
    await execute(postgres_url, "ALTER TABLE usage DETACH PARTITION usage_2026_03")
    await database.insert([line(moment)])
    assert await counts_in(postgres_url) == {"usage_2026_03_2": 1}
    async with connected(postgres_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM usage_2026_03") == 1


async def test_partitions_of_an_operator_count_like_ours(postgres_url, database):
    await execute(
        postgres_url,
        "CREATE TABLE years PARTITION OF usage FOR VALUES FROM ('2020-01-01 00:00Z') TO ('2025-01-01 00:00Z')",
    )
    await database.insert([line(at("2024-12-31T23:59:59")), line(at("2025-01-01"))])
    assert await counts_in(postgres_url) == {"years": 1, "usage_2025_01": 1}


async def test_without_the_right_to_make_tables_records_go_where_there_is_a_month_and_else_wait(
    postgres_url, database, caplog
):
    await database.insert([line(NOW)])
    name = f"writer_of_{name_of(postgres_url)}"
    await execute(postgres_url, f"CREATE ROLE {name} LOGIN", f"GRANT USAGE ON SCHEMA public TO {name}",
                  f"GRANT SELECT, INSERT, UPDATE, DELETE ON usage, usage_daily TO {name}",
                  *(f"DROP TABLE {month}" for month in ahead(datetime.now(UTC))))  # fmt: skip
    limited = LedgerDatabase(postgres_url.replace("postgres:@", f"{name}:@"), migrate=False)
    await limited.insert([line(NOW)])
    assert "the ledger's next month could not be made" in caplog.text
    with pytest.raises(Exception, match="permission denied|must be owner") as refused:
        await limited.insert([line(at("2025-03-01"))])
    assert not isinstance(refused.value, LinesRefused)  # else the record would be quarantined
    await limited.close()
    await execute(postgres_url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


async def test_a_record_without_a_moment_is_refused_and_no_other(database):
    lines = line(NOW).replace(b'"started_at":', b'"began":')
    with pytest.raises(LinesRefused):
        await database.insert([lines])
    with pytest.raises(LinesRefused):
        await database.insert([line(1e18)])
    await database.insert([line(NOW)])


def test_a_month_is_followed_by_the_next():
    assert [month_after(date(2026, month, 1)) for month in (1, 11, 12)] == [
        date(2026, 2, 1), date(2026, 12, 1), date(2027, 1, 1),
    ]  # fmt: skip


@pytest.fixture
async def retention(postgres_url, tmp_path):
    databases = []

    def make(days):
        databases.append(LedgerDatabase(postgres_url))
        return Retention(databases[-1], timedelta(days=days), tmp_path / "lock", now=lambda: NOW)

    yield make
    for database in databases:
        await database.close()


async def test_whole_months_are_dropped_and_within_the_last_one_rows_are_deleted(open_ledger, retention, postgres_url):
    """On 1 June at noon, 45 days reach back to 17 April."""
    began = [
        "2026-01-31T23:59:59",
        "2026-03-01",
        "2026-03-31T23:59:59",
        "2026-04-16T23:59:59",
        "2026-04-17",
        "2026-06-01",
    ]
    questions = [Question(by, since) for by in ([], ["day"], ["key", "model"]) for since in (None, at("2026-03-15"))]
    async with open_ledger() as ledger:
        for number, moment in enumerate(began):
            ledger.add(make_record(request_id=f"r-{number}", started_at=at(moment).timestamp()))
        await settled(ledger)
        before = [await ledger.answer(question) for question in questions]
        assert await retention(45).sweep() == 1
        assert await ids_of(ledger) == ["r-4", "r-5"]
        assert [await ledger.answer(question) for question in questions] == before
        assert await ledger.spent("key", "team-a", at("2026-01-01")) == 6 * 123
        assert await retention(45).sweep() == 0
    months = await months_in(postgres_url)
    assert [month for month in months if month < "usage_2026_07"] == ["usage_2026_04", "usage_2026_06"]


async def test_a_record_of_a_month_that_has_gone_makes_it_again_until_the_next_sweep(
    open_ledger, retention, postgres_url
):
    async with open_ledger() as ledger:
        ledger.add(make_record(request_id="a", started_at=at("2026-01-05").timestamp()))
        await settled(ledger)
        await retention(45).sweep()
        ledger.add(make_record(request_id="b", started_at=at("2026-01-06").timestamp()))
        await settled(ledger)
        assert await ids_of(ledger) == ["b"]
        await retention(45).sweep()
        assert await totals_of(ledger) == (0, 2)


async def test_a_month_is_dropped_when_no_question_reads_it_and_nobody_waits_until_then(
    open_ledger, retention, postgres_url, monkeypatch
):
    async with open_ledger() as ledger:
        ledger.add(make_record(request_id="old", started_at=at("2026-01-05").timestamp()))
        await settled(ledger)
        async with connected(postgres_url) as reader:
            await reader.execute("BEGIN")
            assert await reader.fetchval("SELECT count(*) FROM usage") == 1
            monkeypatch.setattr("crplugins.ledger.postgresql._LONGEST_REST", 0.05)
            sweeping = asyncio.create_task(retention(45).sweep())
            for number in range(3):
                ledger.add(make_record(request_id=f"new-{number}"))
                await settled(ledger)
                assert (await ledger.answer(Question()))[0].requests == 2 + number
            assert not sweeping.done()
            await reader.execute("COMMIT")
        await sweeping
        assert "old" not in await ids_of(ledger)


async def test_several_processes_sweep_at_once_and_a_schema_of_its_own_is_left_alone(postgres_url, tmp_path):
    await execute(postgres_url, 'CREATE SCHEMA "one"', 'CREATE SCHEMA "The ""2nd"""')
    base = postgres_url + ("&" if "?" in postgres_url else "?")
    one, other = (LedgerDatabase(f"{base}schema={name}") for name in ("one", "The%20%222nd%22"))
    for database in (one, other):
        await database.insert([line(at("2026-01-05")), line(NOW)])
    sweeps = [Retention(one, timedelta(days=45), tmp_path / str(number), now=lambda: NOW) for number in range(3)]
    await asyncio.gather(*(sweep.sweep() for sweep in sweeps))
    counts = []
    for database in (one, other):
        counts.append((await database.fetch("SELECT count(*) FROM usage", {}))[0][0])
        await database.close()
    assert counts == [1, 2]


async def test_a_report_of_a_time_reads_its_months_alone(open_ledger, postgres_url, monkeypatch):
    """As PostgreSQL says it itself, of every statement that is asked."""
    plans = []
    fetch = LedgerDatabase.fetch

    async def explain_and_fetch(self, statement, values):
        plans.append("\n".join(row[0] for row in await fetch(self, f"EXPLAIN (ANALYZE) {statement}", values)))
        return await fetch(self, statement, values)

    monkeypatch.setattr(LedgerDatabase, "fetch", explain_and_fetch)

    def read():
        """The months that were read; one whose nodes were never executed was not."""
        found = {
            name
            for plan in plans
            for row in plan.splitlines()
            for name in [f"usage_{year}_{month:02}" for year in (2025, 2026) for month in range(1, 13)]
            if f"on {name} " in row and "never executed" not in row
        }
        plans.clear()
        return found

    async with open_ledger() as ledger:
        for month in range(1, 13):
            for day in (1, 15):
                ledger.add(make_record(started_at=datetime(2025, month, day, 6, tzinfo=UTC).timestamp()))
        await settled(ledger)
        for by in GROUPS:
            await ledger.answer(Question([by], at("2025-06-10T12:00"), at("2025-07-20T12:00")))
            assert read() <= {"usage_2025_06", "usage_2025_07"}
        await ledger.answer(Question(["user"], at("2025-06-10"), at("2025-07-20")))
        assert read() == {"usage_2025_06", "usage_2025_07"}
        await ledger.spent("key", "team-a", at("2025-12-10T12:00"))
        assert {month for month in read() if month < "usage_2026"} == {"usage_2025_12"}
    async with open_ledger(commit_seconds=60) as ledger:  # the record waits, and is looked for in the table
        ledger.add(make_record(started_at=at("2025-11-03").timestamp()))
        assert (await ledger.answer(Question(["user"], at("2025-11-01"), at("2025-12-01"))))[0].requests == 3
        assert read() == {"usage_2025_11"}


async def test_what_is_deleted_and_the_slices_of_an_export_are_looked_for_in_their_months(database, postgres_url):
    from crplugins.ledger.inserts import DELETE
    from crplugins.ledger.rows import EVERY_COLUMN, _statement

    await database.insert([line(datetime(2025, month, 2, tzinfo=UTC)) for month in range(1, 13)])
    values = {"at": at("2025-03-01"), "last": "", "until": at("2025-03-02")}
    statement, _ = _statement(EVERY_COLUMN, 100, values, None)
    exported = str(await database.fetch(f"EXPLAIN {statement}", values))
    deleted = str(await database.fetch(f"EXPLAIN {DELETE}", {"before": at("2025-02-01"), "most": 500}))
    assert ("usage_2025_03" in exported, "usage_2025_04" in exported) == (True, False)
    assert ("usage_2025_01" in deleted, "usage_2025_02" in deleted) == (True, False)
