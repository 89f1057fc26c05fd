"""Every record comes to the broker, at least once, whatever becomes of it, of the process and of the disk."""

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis

from crplugins.plugins.usage import Usage
from crplugins.sinks.redis import RedisBroker
from crplugins.sinks.stream import RecordStream
from tests.kafka_setup import PARTITIONS
from tests.sinks.conftest import NAME, ids_at, records, stream_to, taken, until
from tests.warm import PYTHON

CHECKOUT = Path(__file__).parents[2]


async def add(stream, made):
    """As requests end, one after the other."""
    for record in made:
        stream.add(record)
        await asyncio.sleep(0)


async def test_every_record_is_published(place, tmp_path):
    made = records(450)
    async with stream_to(place, tmp_path) as stream:
        for record in made:
            stream.add(record)
        await taken(stream)
        assert (stream.published, stream.dropped) == (450, 0)
    assert await ids_at(place) == {record.request_id for record in made}
    assert not [*tmp_path.iterdir()], "nothing waits, so nothing is left"


async def test_a_broker_that_is_away_at_the_start_and_later_gets_them_all_the_same(place, tmp_path, caplog):
    made = records(800)
    await place.leave()
    async with stream_to(place, tmp_path, spool_above=50) as stream:
        await add(stream, made[:400])
        await until(lambda: stream.spooled and "records wait" in caplog.text)  # the broker was waited for in vain
        await place.back()
        await taken(stream)
        await place.leave()
        await add(stream, made[400:])
        await until(lambda: stream.spooled)
        await place.back()
        await taken(stream)
    assert await ids_at(place) == {record.request_id for record in made}
    lines = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert 2 <= len(lines) <= 6, "its begin and its end, for what waits in memory and for the spool"
    assert all(str(place.broker()) in each.getMessage() for each in lines)


async def test_what_waits_when_a_process_ends_is_published_by_the_next(place, tmp_path):
    made = records(120)
    await place.leave()
    async with stream_to(place, tmp_path, drain_seconds=0.5) as stream:
        for record in made:
            stream.add(record)
    assert [*tmp_path.iterdir()]
    await place.back()
    async with stream_to(place, tmp_path) as stream:
        await taken(stream)
    assert await ids_at(place) == {record.request_id for record in made}


ADD = """
import asyncio, os, sys
from crplugins.sinks.kafka import KafkaBroker
from crplugins.sinks.redis import RedisBroker
from crplugins.sinks.stream import RecordStream
from tests.ledger.conftest import make_record

async def main(source, name, spool):
    broker = RedisBroker(source, name, 1_000_000) if "://" in source else KafkaBroker(source, name)
    async with RecordStream(broker, spool=spool) as stream:
        while True:
            for _ in range(20):
                record = make_record()
                stream.add(record)
                os.write(1, record.request_id.encode() + b"\\n")
            await asyncio.sleep(0.01)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("away", [False, True], ids=["while it takes them", "while the broker is away"])
async def test_sigkill_loses_no_record(place, tmp_path, away):
    if away:
        await place.leave()
    command = [*PYTHON.command, "-c", ADD, place.source, NAME, str(tmp_path / "spool")]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=CHECKOUT)
    said = b""
    while said.count(b"\n") < 600:
        said += await process.stdout.read(1 << 16)
    process.send_signal(signal.SIGKILL)
    said += await process.stdout.read()
    await process.wait()
    if away:
        await place.back()
    async with stream_to(place, tmp_path) as stream:
        await taken(stream)
    assert {*said.decode().split("\n")[:-1]} <= await ids_at(place)


async def test_no_more_wait_on_disk_than_may_and_what_is_lost_is_counted(place, tmp_path, caplog):
    await place.leave()
    bounds = {"most_spooled": 40, "spool_above": 20, "queue_size": 50, "drain_seconds": 0.2}
    added = 0

    def lost_some() -> bool:
        """Another request ends meanwhile."""
        nonlocal added
        stream.add(*records(1))
        added += 1
        return stream.dropped > 0 and stream.spooled >= 40

    async with stream_to(place, tmp_path, **bounds) as stream:
        await until(lost_some)
        lost = stream.dropped
        assert stream.spooled <= 40 + 50  # a write that had begun
    assert any(each.levelno == logging.CRITICAL for each in caplog.records)
    await place.back()
    async with stream_to(place, tmp_path) as stream:
        await taken(stream)
    assert len(await ids_at(place)) == added - lost


async def test_a_line_that_nobody_can_read_holds_up_no_other(place, tmp_path):
    made = records(3)
    with sqlite3.connect(tmp_path / "spool") as file:
        file.execute("CREATE TABLE spooled (id INTEGER PRIMARY KEY AUTOINCREMENT, line TEXT NOT NULL)")
        file.execute("INSERT INTO spooled (line) VALUES ('{}')")
    file.close()
    async with stream_to(place, tmp_path) as stream:
        for record in made:
            stream.add(record)
        await taken(stream)
    assert await ids_at(place) == {record.request_id for record in made}


async def test_the_records_of_a_key_are_in_one_partition_in_their_order(kafka_place, tmp_path):
    made = [record for number in range(100) for record in records(2, key_id=f"key-{number % 7}")]
    async with stream_to(kafka_place, tmp_path) as stream:
        for record in made:
            stream.add(record)
        await taken(stream)
    partitions = await kafka_place.by_partition()
    homes = {(key, number) for number, messages in partitions.items() for key, _ in messages}
    assert len(homes) == 7
    assert len({number for _, number in homes}) > 1
    assert len(partitions) == PARTITIONS
    for key in {key for key, _ in homes}:
        came = [value["request_id"] for messages in partitions.values() for name, value in messages if name == key]
        assert came == [record.request_id for record in made if record.key_id == key]


async def test_a_stream_of_redis_is_not_longer_than_it_may_be(fragile_redis, tmp_path):
    broker = RedisBroker(fragile_redis.url, NAME, 200)
    async with RecordStream(broker, spool=tmp_path / "spool", commit_seconds=0.01) as stream:
        for record in records(1_000):
            stream.add(record)
        await taken(stream)
    async with Redis.from_url(fragile_redis.url) as redis:
        assert 200 <= await redis.xlen(NAME) < 400  # whole nodes of a hundred go
        ((_, fields),) = await redis.xrevrange(NAME, count=1)
    assert [*fields] == [b"record"]


async def test_usage_opens_its_sinks_and_a_callable_is_one_too(place, tmp_path):
    seen: Counter[str] = Counter()
    stream = stream_to(place, tmp_path)
    usage = Usage(sinks=[stream, lambda record: seen.update([record.request_id])])
    made = records(5)
    async with usage:
        for record in made:
            for sink in usage._sinks:
                sink(record)
        await taken(stream)
    assert await ids_at(place) == set(seen) == {record.request_id for record in made}


def test_a_sink_without_its_package_says_what_to_install(tmp_path):
    script = "import sys; sys.modules['aiokafka'] = sys.modules['redis'] = None\nfrom crplugins.config import parse_config\nparse_config({'sinks': {'kafka': {'bootstrap_servers': 'k:9092'}, 'redis': {'url': 'redis://h'}}})"
    done = subprocess.run(
        [*PYTHON.command, "-c", script], capture_output=True, text=True, timeout=60, cwd=CHECKOUT, env=dict(os.environ)
    )
    assert "sinks.kafka: a sink to Kafka needs aiokafka; install it with: pip install 'crplugins[kafka]'" in done.stderr
    assert "sinks.redis: a sink to Redis needs redis; install it with: pip install 'crplugins[redis]'" in done.stderr
