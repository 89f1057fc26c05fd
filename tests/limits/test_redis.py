"""RedisStore against a real server: the same decisions as in memory, one round trip for each."""

import asyncio
import time

import pytest

from crplugins.limits.limit import Charge, Decision, Level, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.redis import RedisStore
from tests.limits.differential import differences, operations
from tests.redis_setup import redis, redis_process  # noqa: F401


@pytest.mark.parametrize("seed", [1, 2])
async def test_20_000_random_operations_are_decided_as_in_memory(redis, seed):
    async with RedisStore(redis.url, connections=1) as store:
        assert await differences(MemoryStore(), store, operations(seed), together=50) == []
