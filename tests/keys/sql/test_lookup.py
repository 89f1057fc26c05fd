"""The look-up of a secret: what it costs, and that it finds what SQLAlchemy finds."""

import asyncio
import cProfile
import pstats

import asyncpg
import pytest

from crplugins.core.principal import Budget
from crplugins.keys.secrets import Digester, mint_secret
from crplugins.keys.source import SourceUnavailable
from crplugins.keys.sql import SqlKeys
from crplugins.keys.sql.database import Database
from crplugins.keys.sql.lookup import CONNECTIONS
from crplugins.keys.sql.rows import find_secret
from tests.keys.conftest import LATER, NOW, make_key
from tests.pooler_setup import pooled_url, pooler  # noqa: F401  # fixtures

SECRETS = [mint_secret() for _ in range(40)]


def digest(secret):
    return [Digester().digest(secret)]


async def test_it_finds_every_word_of_a_key_as_sqlalchemy_does(database_url):
    async with SqlKeys(database_url) as keys:
        await keys.store.add(
            make_key(
                "team-a", *SECRETS[:3], team="search", owner="Ann", tags={"env": "prod"}, models=("gpt-*",), admin=True,
                weight=3, budget=Budget(5_000_000, "month", True), on_disconnect="drain", priority="high",
            )
        )  # fmt: skip
        await keys.store.rotate("team-a", Digester().stored(SECRETS[3], NOW), LATER - NOW, NOW)
        await keys.store.set_disabled("team-a", disabled=True)
        for secret in SECRETS[:5]:
            async with keys._database.reading() as connection:
                expected = await find_secret(connection, digest(secret))
            assert await keys._database.find(digest(secret)) == expected
        assert expected is None


async def test_it_takes_less_than_half_of_the_calls_that_sqlalchemy_takes(database_url):
    """In one and the same run. By time it is a tenth on SQLite and a quarter on PostgreSQL."""
    async with SqlKeys(database_url) as keys:
        for number, secret in enumerate(SECRETS):
            await keys.store.add(make_key(f"key-{number}", secret))

        async def through_sqlalchemy(secret):
            async with keys._database.reading() as connection:
                return await find_secret(connection, digest(secret))

        async def looked_up(secret):
            return await keys._database.find(digest(secret))

        calls = {}
        for ask in (through_sqlalchemy, looked_up):
            await ask(SECRETS[0])
            profile = cProfile.Profile()
            profile.enable()
            found = [await ask(secret) for secret in SECRETS]
            profile.disable()
            assert [each.key.id for each in found] == [f"key-{number}" for number in range(len(SECRETS))]
            calls[ask] = pstats.Stats(profile).total_calls
        assert calls[looked_up] < 0.45 * calls[through_sqlalchemy], calls


async def test_on_a_server_many_at_once_share_a_few_connections(postgres_url):
    async with SqlKeys(postgres_url) as keys:
        for number, secret in enumerate(SECRETS):
            await keys.store.add(make_key(f"key-{number}", secret))
        found = await asyncio.gather(*(keys._database.find(digest(secret)) for secret in SECRETS))
        assert [each.key.id for each in found] == [f"key-{number}" for number in range(len(SECRETS))]
        assert len(keys._database._lookup._idle) == CONNECTIONS


async def test_one_who_stops_waiting_leaves_no_broken_connection_behind(postgres_url):
    async with SqlKeys(postgres_url) as keys:
        await keys.store.add(make_key("team-a", SECRETS[0]))
        await keys._database.find(digest(SECRETS[0]))
        for turns in range(12):
            asking = asyncio.create_task(keys._database.find(digest(SECRETS[0])))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert (await keys._database.find(digest(SECRETS[0]))).key.id == "team-a"


async def test_connections_that_the_server_has_ended_are_replaced_without_an_error(postgres_url):
    async with SqlKeys(postgres_url) as keys:
        await keys.store.add(make_key("team-a", SECRETS[0]))
        await asyncio.gather(*(keys._database.find(digest(SECRETS[0])) for _ in range(8)))
        other = await asyncpg.connect(postgres_url)
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await other.close()
        assert (await keys._database.find(digest(SECRETS[0]))).key.id == "team-a"


async def test_in_a_schema_behind_a_pooler_it_finds_the_keys_of_the_schema(pooled_url):  # noqa: F811
    connection = await asyncpg.connect(pooled_url, statement_cache_size=0)
    await connection.execute('CREATE SCHEMA "first"; CREATE SCHEMA "The ""2nd"""')
    await connection.close()
    opened = [SqlKeys(f"{pooled_url}?schema={name}&connection_limit=2") for name in ("first", "The%20%222nd%22")]
    async with opened[0] as first, opened[1] as second:
        await first.store.add(make_key("one", SECRETS[0]))
        await second.store.add(make_key("two", SECRETS[0]))
        asked = [keys._database.find(digest(SECRETS[0])) for _ in range(10) for keys in (first, second)]
        assert [found.key.id for found in await asyncio.gather(*asked)] == ["one", "two"] * 10


async def test_what_has_failed_is_asked_anew(database_url):
    async with SqlKeys(database_url) as keys:
        await keys.store.add(make_key("team-a", SECRETS[0]))
        for name, renamed in (("api_key", "gone"), ("gone", "api_key")):
            async with keys._database.writing() as connection:
                await connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {renamed}")
            if renamed == "gone":
                with pytest.raises(SourceUnavailable, match="cannot be asked"):
                    await keys._database.find(digest(SECRETS[0]))
        assert (await keys._database.find(digest(SECRETS[0]))).key.id == "team-a"


async def test_who_has_not_opened_the_database_is_told_so(sqlite_url):
    with pytest.raises(SourceUnavailable, match="not been opened"):
        await Database(sqlite_url).find(digest(SECRETS[0]))
