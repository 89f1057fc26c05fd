"""A pooler between us and PostgreSQL: each transaction has another session of the server."""

import asyncio
from pathlib import Path

import asyncpg
import msgspec
import pytest

from crplugins.keys.secrets import mint_secret
from crplugins.keys.sql import SqlKeys
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.question import Question
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.report import answer
from tests.keys.conftest import NOW, make_key
from tests.ledger.conftest import make_record
from tests.long import times

PROCESSES = 8
"""As many engines, each with connections of its own, against two sessions of the server."""


async def requests_in(database):
    reader = LedgerReader(database, Path("no-spool"))
    return sum(sums.requests for sums in await answer(reader, Question(("key",))))


async def test_keys_are_made_found_changed_and_listed_behind_a_pooler_by_many_processes_at_once(pooled_url):
    async def process(number):
        secrets = [mint_secret(), mint_secret()]
        async with SqlKeys(pooled_url) as keys:
            await keys.store.add(make_key(f"key-{number}", *secrets))
            for _ in range(times(5, 100)):
                keys._cache.clear()
                found = await asyncio.gather(*(keys.find(secret) for secret in secrets), keys.refresh())
                assert [each.key.id for each in found[:2]] == [f"key-{number}"] * 2
                assert f"key-{number}" in {key.id for key in await keys.store.list()}
            await keys.store.revoke(f"key-{number}", NOW)
            return len(await keys.store.list())

    assert max(await asyncio.gather(*map(process, range(PROCESSES)))) == PROCESSES


async def test_records_are_inserted_and_reported_behind_a_pooler_by_many_processes_at_once(pooled_url):
    batches = times(5, 100)

    async def process():
        database = LedgerDatabase(pooled_url)
        for _ in range(batches):
            await database.insert([msgspec.json.encode(make_record()) for _ in range(3)])
            assert await requests_in(database) >= 3
        await database.close()

    await asyncio.gather(*(process() for _ in range(PROCESSES)))
    database = LedgerDatabase(pooled_url, migrate=False)
    assert await requests_in(database) == PROCESSES * batches * 3
    await database.close()


async def test_each_schema_in_a_database_has_a_ledger_of_its_own_also_behind_a_pooler(pooled_url):
    connection = await asyncpg.connect(pooled_url, statement_cache_size=0)
    await connection.execute('CREATE SCHEMA "first"; CREATE SCHEMA "The ""2nd"""')
    await connection.close()
    ledgers = [LedgerDatabase(f"{pooled_url}?schema={name}") for name in ("first", "The%20%222nd%22")]
    for count, database in enumerate(ledgers, start=1):
        await database.insert([msgspec.json.encode(make_record()) for _ in range(count)])
    assert [await requests_in(database) for database in ledgers] == [1, 2]
    for database in ledgers:
        await database.close()


@pytest.mark.parametrize("words", ["connection_limit=1&pool_timeout=60", "pgbouncer=true&application_name=gateway"])
async def test_the_words_that_are_written_for_poolers_work_behind_one(pooled_url, words):
    database = LedgerDatabase(f"{pooled_url}?{words}")
    await asyncio.gather(*(database.insert([msgspec.json.encode(make_record())]) for _ in range(5)))
    assert await requests_in(database) == 5
    await database.close()


async def test_of_several_hosts_one_is_taken_that_answers(pooled_url):
    database = LedgerDatabase(pooled_url.replace("@", "@127.0.0.1:9,"))
    await database.insert([msgspec.json.encode(make_record())])
    assert await requests_in(database) == 1
    await database.close()
