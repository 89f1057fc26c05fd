#!/usr/bin/env python3
"""Usage records from a sink of crplugins into a DuckDB file, each once: python to_duckdb.py usage.duckdb redis://localhost

A message counts as read when its records are in the file, so that one which is read twice after a crash is found there
by its `request_id`. Several of these may read together, each into a file of its own.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import duckdb

SCHEMA = "crplugins.usage/1"

COLUMNS = {
    "request_id": "VARCHAR PRIMARY KEY", "started_at": "TIMESTAMPTZ", "ended_at": "TIMESTAMPTZ", "key_id": "VARCHAR",
    "team": "VARCHAR", "requested_model": "VARCHAR", "served_model": "VARCHAR", "provider": "VARCHAR",
    "stream": "BOOLEAN", "status": "INTEGER", "outcome": "VARCHAR", "error_type": "VARCHAR", "input_tokens": "BIGINT",
    "output_tokens": "BIGINT", "cached_input_tokens": "BIGINT", "cache_write_input_tokens": "BIGINT",
    "reasoning_output_tokens": "BIGINT", "usage_source": "VARCHAR", "cost_micro_usd": "BIGINT", "duration_ms": "DOUBLE",
    "ttft_ms": "DOUBLE",
}  # fmt: skip
"""What is kept. A message has more fields, and may get further ones."""

Batch = tuple[Sequence[bytes], Callable[[], Awaitable[Any]]]
"""Messages, and what tells the broker that they are read."""


class Table:
    """The table `usage` of a file."""

    def __init__(self, file: str) -> None:
        self._connection = duckdb.connect(file)
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS usage ({columns})")

    def add(self, messages: Sequence[bytes]) -> None:
        rows = [[record[name] for name in COLUMNS] for record in map(json.loads, messages) if known(record)]
        if rows:
            places = ", ".join("?" * len(COLUMNS))
            self._connection.begin()
            self._connection.executemany(f"INSERT INTO usage VALUES ({places}) ON CONFLICT DO NOTHING", rows)
            self._connection.commit()


def known(record: dict[str, Any]) -> bool:
    """A record of another version is for a reader that knows it: here its columns might mean something else."""
    if record["schema"] != SCHEMA:
        print(f"left out: a record of {record['schema']}")
    return record["schema"] == SCHEMA


async def from_redis(url: str, stream: str, group: str) -> AsyncIterator[Batch]:
    """First what this reader had taken before it stopped, then what is new."""
    from redis.asyncio import Redis
    from redis.exceptions import ResponseError

    async with Redis.from_url(url) as redis:
        try:
            await redis.xgroup_create(stream, group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        position = "0"
        while True:
            found = await redis.xreadgroup(group, "to_duckdb", {stream: position}, count=500, block=1000)
            entries = [entry for _, of_stream in found for entry in of_stream]
            if not entries:
                position = ">"
                yield [], nothing
                continue
            ids = [entry_id for entry_id, _ in entries]
            yield [fields[b"record"] for _, fields in entries], lambda ids=ids: redis.xack(stream, group, *ids)


async def from_kafka(servers: str, topic: str, group: str) -> AsyncIterator[Batch]:
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    async with consumer:
        while True:
            found = await consumer.getmany(timeout_ms=1000, max_records=500)
            messages = [message.value for of_partition in found.values() for message in of_partition]
            yield messages, consumer.commit if messages else nothing


async def nothing() -> None:
    """Nothing was read."""


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="the DuckDB file")
    parser.add_argument("source", help="redis://host:6379/0, or the brokers of Kafka: host:9092,host:9092")
    parser.add_argument("--name", help="the stream or topic", default=None)
    parser.add_argument("--group", default="to_duckdb", help="the consumer group")
    parser.add_argument("--once", action="store_true", help="end when nothing has come for a while")
    told = parser.parse_args()
    table = Table(told.file)
    if "://" in told.source:
        batches = from_redis(told.source, told.name or "crplugins:usage", told.group)
    else:
        batches = from_kafka(told.source, told.name or "crplugins-usage", told.group)
    idle = 0
    async for messages, read in batches:
        table.add(messages)
        await read()
        idle = 0 if messages else idle + 1
        if told.once and idle == 5:
            break
    await batches.aclose()


if __name__ == "__main__":
    asyncio.run(main())
