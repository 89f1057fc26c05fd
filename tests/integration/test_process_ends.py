# ruff: noqa: F811  # fixtures are parameters of the same name
"""However a gateway ends, and whatever its database does: a request whose client was answered is in the books, once.

In a long run it is killed more often, and PostgreSQL is away for longer.
"""

import asyncio
import signal
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crplugins.testing import Script
from tests.integration.metering_process import Asked, Books, GatewayProcess, Load, books_of, books_with, gateway_process
from tests.long import times
from tests.postgresql_setup import database_url, postgres_url, sqlite_url  # noqa: F401  # fixtures

pytestmark = pytest.mark.slow

KILLS = times(1, 20)
OUTAGE = times(3, 60)


async def test_what_a_killed_gateway_had_answered_is_in_the_ledger_once_when_it_runs_again(tmp_path, database_url):
    async with gateway_process(tmp_path, database_url) as (gateway, provider):
        provider.default = Script(text="one two three four", delay=0.02, frame_delay=0.01)
        rounds = [await killed_under_load(gateway, f"k{number}-") for number in range(KILLS)]
        answered = [one for load, at in rounds for one in surely_kept(load, at)]
        books = await books_with(database_url, answered, within=60)
        assert books.missing(answered) == []
        assert await gateway.end(signal.SIGTERM) == 0
    check_books(await books_of(database_url), rounds)
    assert not list(tmp_path.glob("*.journal"))


async def killed_under_load(gateway: GatewayProcess, prefix: str) -> tuple[Load, float]:
    """The load, and when the kill came. The gateway runs again afterwards."""
    load, stopping = Load(gateway, prefix=prefix), asyncio.Event()
    running = asyncio.create_task(load.run(stopping))
    await load.answered(150)
    at = time.monotonic()
    assert await gateway.end(signal.SIGKILL) == -signal.SIGKILL
    stopping.set()
    await running
    assert load.failed  # it was in the middle of its work
    await gateway.start()
    return load, at


def surely_kept(load: Load, killed_at: float) -> list[Asked]:
    """Those with a whole answer before the kill, but for the last few, in the order in which they were read.

    Between the last byte of an answer and its line in the journal pass some 50 us in which nothing else runs, so that
    a kill can take one such record, and no second.
    """
    return sorted((one for one in load.complete if one.ended < killed_at), key=lambda one: one.ended)[:-10]


def check_books(books: Books, rounds: Sequence[tuple[Load, float]]) -> None:
    for load, at in rounds:
        missing = books.missing(load.complete)
        assert len(missing) <= 1
        assert not {one.marker for one in surely_kept(load, at)} & set(missing)
    assert set(books.markers.values()) == {1}
    assert books.daily == len(books.ids)


async def test_a_gateway_that_is_told_to_end_finishes_what_it_has_begun_and_loses_nothing(tmp_path, database_url):
    async with gateway_process(tmp_path, database_url) as (gateway, provider):
        provider.default = Script(text="one two three four five six seven", delay=0.1, frame_delay=0.1)
        load, stopping = Load(gateway), asyncio.Event()
        running = asyncio.create_task(load.run(stopping))
        await load.answered(40)
        told = time.monotonic()
        ending = asyncio.create_task(gateway.end(signal.SIGTERM))
        await asyncio.sleep(0.3)
        stopping.set()
        await running
        assert await ending == 0
    arrived = {request.json["user"] for request in provider.requests}  # others waited to be accepted, and may go
    begun = [one for one in load.asked if one.marker in arrived]
    assert len([one for one in begun if one.began < told < one.ended]) > 20
    assert [(one.marker, one.failure) for one in begun if one.failure or not one.complete] == []
    books = await books_of(database_url)
    assert books.missing(begun) == []
    refused = {one.request_id for one in load.asked if one.status == 503}  # unread, so their rows name no user
    assert refused <= books.ids
    assert {times for marker, times in books.markers.items() if marker is not None} == {1}
    assert books.daily == len(books.ids)
    assert not list(tmp_path.glob("*.journal"))


async def test_while_postgresql_is_away_no_request_notices_and_no_record_is_lost(tmp_path, postgres, postgres_url):
    async with gateway_process(tmp_path, postgres_url) as (gateway, _):
        load, stopping = Load(gateway, rate=50.0), asyncio.Event()  # which any machine can serve
        running = asyncio.create_task(load.run(stopping))
        await load.answered(25)
        async with away(postgres) as went:
            await asyncio.sleep(OUTAGE)
            came = time.monotonic()
        await load.answered(len(load.complete) + 25)
        stopping.set()
        await running
        assert [(one.marker, one.failure) for one in load.failed] == []
        before = [one.took for one in load.asked if one.began < went]
        during = [one.took for one in load.asked if went <= one.began < came]
        print(f"{len(load.asked)} requests; before: {figures(before)}; during {came - went:.1f} s: {figures(during)}")
        assert len(during) > OUTAGE * load.rate / 2
        assert max(during) < (came - went) / 2  # whoever had waited for the database would have waited longer
        books = await books_with(postgres_url, load.complete, within=60)
        assert books.missing(load.complete) == []
        assert await gateway.end(signal.SIGTERM) == 0
    books = await books_of(postgres_url)
    assert len(books.ids) == books.daily == len(load.asked)
    assert set(books.markers.values()) == {1}


async def test_a_gateway_killed_and_started_again_while_postgresql_is_away_loses_nothing(
    tmp_path, postgres, postgres_url
):
    async with gateway_process(tmp_path, postgres_url) as (gateway, _):
        async with away(postgres):
            rounds = [await killed_under_load(gateway, "k")]
            assert list(tmp_path.glob("*.journal"))
        answered = [one for load, at in rounds for one in surely_kept(load, at)]
        books = await books_with(postgres_url, answered, within=60)
        assert books.missing(answered) == []
        assert await gateway.end(signal.SIGTERM) == 0
    check_books(await books_of(postgres_url), rounds)


@asynccontextmanager
async def away(postgres: Any) -> AsyncIterator[float]:
    """PostgreSQL is stopped, from this moment until the block ends."""
    went = time.monotonic()
    await asyncio.to_thread(postgres.stop)
    try:
        yield went
    finally:
        await asyncio.to_thread(postgres.start)


def figures(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"median {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms, max {max(seconds) * 1e3:.1f} ms"
