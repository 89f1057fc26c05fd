"""SqlKeys on SQLite and PostgreSQL: finding, caching, revoking, outages."""

import asyncio
import logging
from datetime import timedelta
from functools import partial

import pytest

from crplugins.keys.secrets import Digester, mint_secret
from crplugins.keys.source import Found, SourceUnavailable
from crplugins.keys.sql import SqlKeys, SqlStore
from crplugins.keys.sql import database as sql_database
from crplugins.keys.sql import source as sql_source
from crplugins.keys.sql.database import Database
from crplugins.keys.sql.lookup import SqliteLookup
from crplugins.sql.migrate import migrate
from crplugins.testing import FrozenClock
from tests.keys.conftest import LATER, NOW, Sleep, make_key
from tests.ports import free_port

A, B = mint_secret(), mint_secret()


async def never(seconds):
    """A poll that only happens when the test asks for it."""
    await asyncio.get_running_loop().create_future()


def open_keys(url, **options):
    return SqlKeys(url, **({"sleep": never} | options))


class Queries:
    """Counts the look-ups, and holds them back while `gate` is closed."""

    def __init__(self, monkeypatch):
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()
        real = Database.find

        async def find(database, digests):
            self.count += 1
            found = await real(database, digests)
            await self.gate.wait()
            return found

        monkeypatch.setattr(Database, "find", find)


@pytest.fixture
async def queries(monkeypatch):
    return Queries(monkeypatch)


async def test_a_secret_is_found_with_its_key(database_url):
    async with open_keys(database_url) as keys:
        await keys.store.add(make_key("team-a", A, B, team="search"))
        found = await keys.find(B)
        assert (found.key.principal.team, found.secret.digest) == ("search", Digester().digest(B))
        assert await keys.find(mint_secret()) is None


async def test_with_a_pepper_keys_of_before_go_on(database_url):
    async with SqlStore(database_url) as store:
        await store.add(make_key("old", A))
    async with open_keys(database_url, digester=Digester("pepper")) as keys:
        await keys.store.add(make_key("new", B, digester=keys.store.digester))
        assert [(await keys.find(secret)).key.id for secret in (A, B)] == ["old", "new"]


async def test_a_known_key_and_an_unknown_one_are_asked_about_once(database_url, queries):
    async with open_keys(database_url, clock=(clock := FrozenClock())) as keys:
        await keys.store.add(make_key("team-a", A))
        for _ in range(3):
            assert (await keys.find(A)).key.id == "team-a"
            assert await keys.find(B) is None
        assert queries.count == 2
        clock.advance(5)
        assert await keys.find(B) is None
        assert queries.count == 3


async def test_a_wrong_checksum_is_refused_without_a_look_up(sqlite_url, queries):
    async with open_keys(sqlite_url) as keys:
        assert await keys.find(A[:-1] + ("0" if A[-1] != "0" else "1")) is None
        assert await keys.find("sk-crp_short") is None
        assert queries.count == 0
        assert await keys.find("sk-of-another-system") is None
        assert queries.count == 1


async def test_many_at_once_make_one_query_and_one_who_leaves_does_not_end_it(sqlite_url, queries):
    async with open_keys(sqlite_url) as keys:
        await keys.store.add(make_key("team-a", A))
        queries.gate.clear()
        tasks = [asyncio.create_task(keys.find(A)) for _ in range(20)]
        while not queries.count:  # noqa: ASYNC110
            await asyncio.sleep(0)
        tasks[0].cancel()
        queries.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert {found.key.id for found in results[1:]} == {"team-a"}
        assert queries.count == 1


async def test_a_change_counts_at_once_where_it_is_made_and_elsewhere_at_the_next_poll(database_url):
    async with open_keys(database_url) as here, open_keys(database_url) as there:
        await here.store.add(make_key("team-a", A))
        await here.store.add(make_key("team-b", B))
        await there.refresh()
        assert (await here.find(A)).secret.not_after is (await there.find(A)).secret.not_after is None
        untouched = await there.find(B)
        await here.store.revoke("team-a", NOW)
        assert (await here.find(A)).secret.not_after == NOW
        await there.refresh()
        assert (await there.find(A)).secret.not_after == NOW
        assert await there.find(B) is untouched


async def test_a_deleted_key_is_unknown_at_once_where_it_is_made_and_elsewhere_at_the_next_poll(database_url):
    async with open_keys(database_url) as here, open_keys(database_url) as there:
        for key_id, secret in (("team-a", A), ("team-b", B)):
            await here.store.add(make_key(key_id, secret))
        await there.refresh()
        assert await here.find(A) is not None
        assert await there.find(A) is not None
        await here.store.delete("team-a")
        await here.store.revoke("team-b", NOW)  # a change that leaves its trace hides none that does not
        assert await here.find(A) is None
        await there.refresh()
        assert await there.find(A) is None
        assert (await there.find(B)).secret.not_after == NOW


async def test_a_new_key_is_found_where_it_was_unknown_a_moment_ago(database_url):
    async with open_keys(database_url) as here, open_keys(database_url) as there:
        assert await here.find(A) is await there.find(A) is None
        await here.store.add(make_key("team-a", A))
        await there.refresh()
        assert (await here.find(A)).key.id == (await there.find(A)).key.id == "team-a"


async def test_an_answer_older_than_a_revocation_is_never_kept(sqlite_url, queries):
    async with open_keys(sqlite_url) as keys:
        await keys.store.add(make_key("team-a", A))
        queries.gate.clear()
        early = asyncio.create_task(keys.find(A))
        while not queries.count:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await keys.store.revoke("team-a", NOW)
        late = asyncio.create_task(keys.find(A))
        queries.gate.set()
        assert (await late).secret.not_after == NOW
        await early
        assert (await keys.find(A)).secret.not_after == NOW


async def test_rotation_both_secrets_work_in_the_overlap_under_one_id(database_url):
    async with open_keys(database_url) as keys:
        await keys.store.add(make_key("team-a", A))
        await keys.store.rotate("team-a", Digester().stored(B, NOW), timedelta(hours=1), NOW)
        old, new = await keys.find(A), await keys.find(B)
        assert (old.key, old.secret.not_after, new.secret.not_after) == (new.key, LATER, None)


async def test_a_change_made_by_hand_counts_after_a_minute(sqlite_url, queries):
    async with open_keys(sqlite_url, clock=(clock := FrozenClock())) as keys:
        await keys.store.add(make_key("team-a", A))
        await keys.find(A)
        async with keys._database.writing() as connection:
            await connection.exec_driver_sql("UPDATE api_key SET team = 'moved'")
        clock.advance(61)
        assert (await keys.find(A)).key.principal.team is None  # nobody waits for the look-up
        await asyncio.gather(*keys._flights._all)
        assert (await keys.find(A)).key.principal.team == "moved"


async def test_two_instances_refuse_a_revoked_key_after_one_look_of_which_there_are_two_in_two_seconds(postgres_url):
    assert 2 * sql_source.POLL_SECONDS <= 2
    sleeps = Sleep(), Sleep()
    one, two = (SqlKeys(postgres_url, sleep=sleep) for sleep in sleeps)
    async with one, two, SqlStore(postgres_url) as console:
        await console.add(make_key("team-a", A))
        assert await one.find(A)
        assert await two.find(A)
        await console.revoke("team-a", NOW)
        for sleep in sleeps:
            await sleep.look()
        assert (await one.find(A)).secret.not_after
        assert (await two.find(A)).secret.not_after


@pytest.fixture
def failing(monkeypatch):
    """`failing()` makes every query fail, `failing(False)` ends that."""
    broken = False

    def switch(value=True):
        nonlocal broken
        broken = value

    def make(real):
        async def query(*arguments):
            if broken:
                raise ConnectionRefusedError("nobody listens")
            return await real(*arguments)

        return query

    monkeypatch.setattr(sql_source, "current_version", make(sql_source.current_version))
    monkeypatch.setattr(SqliteLookup, "rows", make(SqliteLookup.rows))
    return switch


async def test_in_an_outage_known_keys_go_on_for_the_time_given_and_unknown_ones_are_unavailable(
    sqlite_url, failing, caplog
):
    clock = FrozenClock()
    async with open_keys(sqlite_url, clock=clock, stale_seconds=300) as keys:
        await keys.store.add(make_key("team-a", A))
        await keys.find(A)
        failing()
        await keys.refresh()
        await keys.refresh()
        clock.advance(299)
        assert (await keys.find(A)).key.id == "team-a"
        for _ in range(2):  # the second is not even asked
            with pytest.raises(SourceUnavailable):
                await keys.find(B)
        clock.advance(2)
        with pytest.raises(SourceUnavailable):
            await keys.find(A)
        failing(False)
        await keys.refresh()
        assert ((await keys.find(A)).key.id, await keys.find(B)) == ("team-a", None)
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(said) == 2, said
        assert "ConnectionRefusedError" in said[0]
        assert "answers again" in said[1]


async def test_nobody_waits_for_the_database_while_it_is_known_to_be_down(sqlite_url, failing):
    async with open_keys(sqlite_url, clock=(clock := FrozenClock())) as keys:
        failing()
        with pytest.raises(SourceUnavailable):
            await keys.find(A)
        failing(False)
        with pytest.raises(SourceUnavailable):
            await keys.find(A)
        clock.advance(1)
        assert await keys.find(A) is None


async def test_postgresql_stopped_and_started_again(postgres, postgres_url):
    async with SqlKeys(postgres_url) as keys:
        await keys.store.add(make_key("team-a", A))
        await keys.refresh()  # else the poll may find the new key while PostgreSQL stops, and forget it
        assert (await keys.find(A)).key.id == "team-a"
        await asyncio.to_thread(postgres.stop)
        try:
            assert (await keys.find(A)).key.id == "team-a"
            with pytest.raises(SourceUnavailable):
                await keys.find(B)
            with pytest.raises(SourceUnavailable):
                await keys.store.revoke("team-a", NOW)
            await keys.refresh()
            assert (await keys.find(A)).key.id == "team-a"
        finally:
            await asyncio.to_thread(postgres.start)
        async with asyncio.timeout(60):
            while keys._down:
                await keys.refresh()
        assert await keys.find(B) is None
        await keys.store.revoke("team-a", NOW)
        assert (await keys.find(A)).secret.not_after == NOW


async def test_at_startup_the_database_must_be_there(tmp_path):
    for url in (f"sqlite:///{tmp_path}/no/folder/gw.db", f"postgresql://u:hunter2@/db?host={tmp_path}"):
        with pytest.raises(SourceUnavailable) as caught:
            async with SqlKeys(url):
                pass
        assert "hunter2" not in str(caught.value) + repr(SqlKeys(url))


async def test_a_row_somebody_spoilt_is_unavailable_and_named(sqlite_url, caplog):
    async with open_keys(sqlite_url) as keys:
        await keys.store.add(make_key("team-a", A))
        async with keys._database.writing() as connection:
            await connection.exec_driver_sql("""UPDATE api_key SET limits = '{"requests_per_minute": "many"}'""")
        with pytest.raises(SourceUnavailable):
            await keys.find(A)
        assert "api_key.team-a.limits.requests_per_minute: must be a whole number" in caplog.text


async def test_the_cache_is_bounded_by_a_setting(sqlite_url):
    async with open_keys(sqlite_url, cached_keys=3) as keys:
        await keys.store.add(make_key("team-a", *(f"sk-known-{n}" for n in range(5))))
        for n in range(5):
            await keys.find(f"sk-known-{n}")
            await keys.find(f"sk-unknown-{n}")
        assert len(keys._cache._known) == len(keys._cache._unknown) == 3


async def test_more_keys_in_turn_than_anybody_has_today_are_asked_about_once_each(sqlite_url, queries):
    async with open_keys(sqlite_url) as keys:
        found = Found(make_key("team-a", A), make_key("team-a", A).secrets[0])
        for number in range(12_000):
            keys._cache.put(Digester().digest(f"sk-{number}"), found, keys._clock())
        for number in range(12_000):
            assert await keys.find(f"sk-{number}") is found
        assert queries.count == 0


async def test_a_key_without_a_secret_is_listed_and_one_with_several_once(database_url):
    async with SqlStore(database_url) as store:
        await store.add(make_key("b", A, B))
        await store.add(make_key("a"))
        assert [(key.id, len(key.secrets)) for key in await store.list()] == [("a", 0), ("b", 2)]


async def test_a_start_that_waits_for_the_database_says_so_and_why_it_ends(caplog, monkeypatch):
    """A server that takes connections and says nothing, and one that is not there."""
    monkeypatch.setattr(sql_database, "WAITING_SECONDS", 0.05)
    monkeypatch.setattr(sql_database, "migrate", partial(migrate, patience=1.0))
    heard = []

    async def silent(reader, writer):
        heard.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SourceUnavailable) as raised:
            await SqlKeys(f"postgresql://u:hunter2@127.0.0.1:{port}/keys").__aenter__()
    where = f"postgresql://u:***@127.0.0.1:{port}/keys"
    assert str(raised.value) == f"the database {where} cannot be asked (it does not answer in time)"
    assert caplog.messages == [f"waiting for the database of the keys, {where}"]
    with pytest.raises(SourceUnavailable, match=r"cannot be asked \(ConnectionRefusedError: "):
        await SqlKeys(f"postgresql://u:hunter2@127.0.0.1:{free_port()}/keys").__aenter__()
    assert len(caplog.messages) == 1
