"""A ledger of an older release is one table in PostgreSQL: it works as it is, and `divide` makes it a partition."""

import asyncio
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import text

from crplugins.ledger import one_table
from crplugins.ledger.database import MIGRATIONS, VERSION_TABLE, LedgerDatabase
from crplugins.ledger.errors import LinesRefused
from crplugins.ledger.one_table import CannotDivide, divide
from crplugins.ledger.partitions import CUTOVER, partition_status
from crplugins.ledger.question import Question
from crplugins.ledger.schema import metadata
from crplugins.sql.engine import make_engine
from crplugins.sql.migrate import newest_revision
from crplugins.sql.url import read_database_url
from tests.ledger.conftest import NOON, ids_of, make_record, settled, totals_of
from tests.ledger.test_partitions import at, connected, counts_in, execute, line, months_in, name_of
from tests.pooler_setup import pooled_url, pooler  # noqa: F401  # fixtures

NOW = datetime.fromtimestamp(NOON, UTC)
NEWEST = newest_revision(MIGRATIONS)


@pytest.fixture
def database_url(postgres_url):  # what the other fixtures of this folder use
    return postgres_url


@pytest.fixture
async def engine(postgres_url):
    """Of a database in which an older release has made the tables, which have been migrated since."""
    engine = make_engine(read_database_url(postgres_url), 60.0)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num varchar(32) PRIMARY KEY)"))
        await connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES ('{NEWEST}')"))
    yield engine
    await engine.dispose()


@pytest.fixture
async def database(engine, postgres_url):
    database = LedgerDatabase(postgres_url)
    yield database
    await database.close()


async def test_one_table_works_as_before(engine, postgres_url, open_ledger):
    async with open_ledger() as ledger:
        for moment in ("2024-02-29", "2026-06-01", "2026-06-30"):
            ledger.add(make_record(started_at=at(moment).timestamp()))
        await settled(ledger)
        assert await totals_of(ledger) == (3, 3)
    assert await months_in(postgres_url) == []


async def test_it_becomes_the_first_partition_and_every_report_says_what_it_said(engine, postgres_url, open_ledger):
    questions = [Question(by, since) for by in ([], ["day"], ["user"]) for since in (None, at("2026-05-15"))]
    async with open_ledger() as ledger:
        for number, moment in enumerate(("2024-02-29", "2026-05-31", "2026-06-01")):
            ledger.add(make_record(request_id=f"r-{number}", started_at=at(moment).timestamp()))
        await settled(ledger)
        before = [await ledger.answer(question) for question in questions]
        done = await divide(engine, NOW, 3)
        assert (done.partition, done.cutover) == ("usage_until_2026_07", date(2026, 7, 1))
        assert done.made == ["usage_2026_07", "usage_2026_08"]
        assert [await ledger.answer(question) for question in questions] == before
        for number, moment in enumerate(
            ("2024-02-29", "2026-05-31", "2026-06-01", "2026-06-30T23:59:59", "2026-07-01")
        ):
            ledger.add(make_record(request_id=f"r-{number}", started_at=at(moment).timestamp()))
        await settled(ledger)
        assert await ids_of(ledger) == [f"r-{number}" for number in range(5)]
        assert await totals_of(ledger) == (5, 5)
        assert await ledger.spent("key", "team-a", at("2020-01-01")) == 5 * 123
    assert await counts_in(postgres_url) == {"usage_until_2026_07": 4, "usage_2026_07": 1}
    again = await divide(engine, NOW, 4)
    assert (again.was, again.made) == (True, ["usage_2026_09"])


async def test_it_looks_like_one_that_was_partitioned_from_the_start(engine, postgres_url, database, postgres):
    """Columns, indexes and keys of the table and of a month of each."""
    await divide(engine, NOW, 2)
    await execute(postgres_url, "CREATE SCHEMA other")
    new = LedgerDatabase(f"{postgres_url}&schema=other")
    await new.insert([line(at("2026-07-05"))])
    await new.close()

    async def told(schema):
        async with connected(postgres_url) as connection:
            columns = await connection.fetch(
                "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
                "WHERE table_schema = $1 AND table_name IN ('usage', 'usage_2026_07') ORDER BY 1, ordinal_position", schema
            )  # fmt: skip
            indexes = await connection.fetch(
                "SELECT replace(indexdef, $1 || '.', '') FROM pg_indexes "
                "WHERE schemaname = $1 AND tablename IN ('usage', 'usage_2026_07') ORDER BY 1", schema
            )  # fmt: skip
        return [tuple(row) for row in columns], [tuple(row) for row in indexes]

    assert await told("public") == await told("other")


async def test_records_come_in_while_it_happens_and_each_is_counted_once(engine, postgres_url, open_ledger):
    async with open_ledger() as ledger:
        dividing, number = asyncio.create_task(divide(engine, NOW, 2)), 0
        while not dividing.done():
            ledger.add(make_record(request_id=f"r-{number:05}"))
            await settled(ledger)
            assert (await ledger.answer(Question()))[0].requests == number + 1
            number += 1
        await dividing
        assert await totals_of(ledger) == (number, number)


async def test_it_waits_for_a_question_and_nobody_waits_behind_it_for_long(
    engine, postgres_url, open_ledger, monkeypatch
):
    monkeypatch.setattr(one_table, "_REST", 0.05)
    async with open_ledger() as ledger, connected(postgres_url) as reader:
        await reader.execute("BEGIN")
        await reader.fetchval("SELECT count(*) FROM usage")
        dividing = asyncio.create_task(divide(engine, NOW, 2))
        for number in range(5):
            ledger.add(make_record())
            await settled(ledger)
            assert (await ledger.answer(Question()))[0].requests == 1 + number
        assert not dividing.done()
        await reader.execute("COMMIT")
        await dividing
        assert await totals_of(ledger) == (5, 5)


async def test_it_goes_on_after_an_interruption_anywhere(engine, postgres_url, database, monkeypatch):
    """Statements are cancelled one after the other, as if somebody had pressed Ctrl-C there."""
    await database.insert([line(NOW, request_id="a")])
    monkeypatch.setattr(one_table, "_swap", fails)
    with pytest.raises(RuntimeError):
        await divide(engine, NOW, 2)
    async with connected(postgres_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_constraint WHERE conname = $1", CUTOVER) == 0
    monkeypatch.undo()
    # An index that was left half made, as by a process that was killed.
    await execute(
        postgres_url,
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'usage_request_id_started_at'::regclass",
    )
    await divide(engine, NOW, 2)
    assert await counts_in(postgres_url) == {"usage_until_2026_07": 1}


async def fails(*_, **__):
    raise RuntimeError


async def test_a_process_that_is_killed_before_the_end_loses_no_record_and_check_says_so(
    engine, postgres_url, database, monkeypatch
):
    """Its constraint stays. What begins after the cutover waits, instead of being refused for ever."""
    monkeypatch.setattr(one_table, "_swap", fails)
    monkeypatch.setattr(one_table, "_unconstrain", does_nothing)
    with pytest.raises(RuntimeError):
        await divide(engine, NOW, 2)
    monkeypatch.undo()
    await database.insert([line(NOW)])
    with pytest.raises(Exception, match=CUTOVER) as refused:
        await database.insert([line(at("2026-07-01"))])
    assert not isinstance(refused.value, LinesRefused)
    async with engine.connect() as connection:
        said, good = await partition_status(connection)
    assert (good, "run crplugins usage partition" in said) == (False, True)
    await divide(engine, NOW, 2)
    await database.insert([line(at("2026-07-01"))])
    assert await counts_in(postgres_url) == {"usage_until_2026_07": 1, "usage_2026_07": 1}


async def does_nothing(*_, **__):
    pass


async def test_rows_of_a_clock_that_is_ahead_move_the_cutover(engine, postgres_url, database):
    await database.insert([line(NOW), line(at("2031-03-05"))])
    done = await divide(engine, NOW, 2)
    assert (done.cutover, done.made) == (date(2031, 4, 1), [])


async def test_at_the_end_of_a_month_the_cutover_is_that_of_the_month_after_the_next(engine):
    assert (await divide(engine, at("2026-06-25T00:00"), 1)).cutover == date(2026, 8, 1)


async def test_rights_and_the_owner_stay(engine, postgres_url):
    owner, reader = (f"{role}_of_{name_of(postgres_url)}" for role in ("owner", "reader"))
    await execute(postgres_url, f"CREATE ROLE {owner}", f"CREATE ROLE {reader}", f"GRANT CREATE ON SCHEMA public TO {owner}",
                  f"ALTER TABLE usage OWNER TO {owner}", f"GRANT SELECT ON usage TO {reader} WITH GRANT OPTION",
                  "GRANT INSERT ON usage TO PUBLIC")  # fmt: skip
    await divide(engine, NOW, 2)
    async with connected(postgres_url) as connection:
        told = await connection.fetchrow("SELECT pg_get_userbyid(relowner)::text AS owner, relacl::text AS acl FROM pg_class "
                                         "WHERE oid = 'usage'::regclass")  # fmt: skip
    assert told["owner"] == owner
    assert f"{reader}=r*/" in told["acl"]
    assert "=a/" in told["acl"]
    await execute(postgres_url, f"DROP OWNED BY {owner}, {reader}", f"DROP ROLE {owner}, {reader}")


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("CREATE VIEW costs AS SELECT cost_micro_usd FROM usage", "the view costs"),
        ("CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM usage", "the view sums"),
        (
            "CREATE TRIGGER t BEFORE UPDATE ON usage FOR EACH ROW "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "the trigger t",
        ),
        ("CREATE POLICY p ON usage", "the policy p"),
        ("CREATE PUBLICATION p FOR TABLE usage", "the publication p"),
        ("CREATE TABLE notes (of text REFERENCES usage)", "the foreign key notes_of_fkey"),
        ("GRANT SELECT (key_id) ON usage TO PUBLIC", "privileges for the column key_id"),
    ],
)
async def test_what_depends_on_the_table_is_named_and_nothing_is_changed(engine, postgres_url, statement, name):
    await execute(postgres_url, statement)
    with pytest.raises(CannotDivide, match=name):
        await divide(engine, NOW, 2)
    async with connected(postgres_url) as connection:
        assert await connection.fetchval("SELECT to_regclass('usage_request_id_started_at')") is None


async def test_an_index_of_the_operators_is_named(engine, postgres_url):
    await execute(postgres_url, 'CREATE INDEX by_user ON usage ("user")')
    assert (await divide(engine, NOW, 2)).own_indexes == ["by_user"]


async def test_where_there_is_no_ledger_it_says_so(postgres_url):
    engine = make_engine(read_database_url(postgres_url), 60.0)
    with pytest.raises(CannotDivide, match="no records"):
        await divide(engine, NOW, 2)
    await engine.dispose()


async def test_it_works_in_a_schema_and_behind_a_pooler(pooled_url):  # noqa: F811
    await execute(pooled_url, 'CREATE SCHEMA "The ""2nd"""')
    url = f"{pooled_url}?schema=The%20%222nd%22"
    engine = make_engine(read_database_url(url), 60.0)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    database = LedgerDatabase(url, migrate=False)
    await database.insert([line(NOW)])
    done = await divide(engine, NOW, 2)
    await database.insert([line(NOW), line(at("2026-07-01"))])
    assert done.partition == "usage_until_2026_07"
    assert await database.fetch("SELECT count(*) FROM usage", {}) == [(3,)]
    await database.close()
    await engine.dispose()
