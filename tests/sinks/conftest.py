"""A real Redis, and brokers of Kafka's protocol, each of which can be away for a while."""

import asyncio
import json
from typing import Any

import jsonschema
import pytest
from redis.asyncio import Redis

from crplugins.metering.record import UsageRecord
from crplugins.sinks.json_schema import schema
from crplugins.sinks.kafka import KafkaBroker
from crplugins.sinks.redis import RedisBroker
from crplugins.sinks.stream import RecordStream
from tests.kafka_setup import KafkaServer
from tests.ledger.conftest import SOON, make_record, until
from tests.redis_setup import RedisServer, fragile_redis  # noqa: F401  # a fixture

NAME = "usage-of-test"
VALIDATOR = jsonschema.Draft202012Validator(schema())


class RedisPlace:
    def __init__(self) -> None:
        self._server = RedisServer("--appendonly", "yes", "--appendfsync", "always")  # what is told to be there stays

    async def __aenter__(self) -> "RedisPlace":
        await asyncio.to_thread(self._server.start)
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self._server.close)

    @property
    def source(self) -> str:
        return self._server.url

    @property
    def words(self) -> dict[str, Any]:
        """Of the section `sinks`."""
        return {"redis": {"url": self._server.url, "stream": NAME}}

    def broker(self) -> RedisBroker:
        return RedisBroker(self._server.url, NAME, 1_000_000, seconds=1)

    async def leave(self) -> None:
        await asyncio.to_thread(self._server.kill)

    async def back(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def messages(self) -> list[dict[str, Any]]:
        async with Redis.from_url(self._server.url) as redis:
            return [json.loads(fields[b"record"]) for _, fields in await redis.xrange(NAME)]


class KafkaPlace:
    def __init__(self) -> None:
        self._server = KafkaServer()

    async def __aenter__(self) -> "KafkaPlace":
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._server.__aexit__(*error)

    @property
    def source(self) -> str:
        return self._server.servers

    @property
    def words(self) -> dict[str, Any]:
        return {"kafka": {"bootstrap_servers": self._server.servers, "topic": NAME}}

    def broker(self) -> KafkaBroker:
        return KafkaBroker(self._server.servers, NAME, seconds=3)

    async def leave(self) -> None:
        await self._server.shut()

    async def back(self) -> None:
        await self._server.reopen()

    async def by_partition(self) -> dict[int, list[tuple[str | None, dict[str, Any]]]]:
        return await self._server.messages(NAME)

    async def messages(self) -> list[dict[str, Any]]:
        return [value for partition in (await self.by_partition()).values() for _, value in partition]


@pytest.fixture(params=[RedisPlace, KafkaPlace], ids=["redis", "kafka"])
async def place(request):
    async with request.param() as place:
        yield place


@pytest.fixture
async def kafka_place():
    async with KafkaPlace() as place:
        yield place


def stream_to(place, folder, **options: Any) -> RecordStream:
    return RecordStream(place.broker(), spool=folder / "spool", retry_seconds=SOON, commit_seconds=0.01, **options)


def records(number: int, **facts: Any) -> list[UsageRecord]:
    return [make_record(**facts) for _ in range(number)]


async def taken(stream: RecordStream) -> None:
    """Returns when nothing waits any more."""
    await until(lambda: not stream.pending and not stream.spooled)


async def ids_at(place) -> set[str]:
    """Of all messages, each of which is as the schema says."""
    messages = await place.messages()
    for each in messages:
        VALIDATOR.validate(each)
    return {each["request_id"] for each in messages}
