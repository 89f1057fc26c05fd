"""Databases to keep keys in, and keys to put there."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from crplugins.core.principal import Principal
from crplugins.keys.key import Key
from crplugins.keys.secrets import Digester
from tests.postgresql_setup import (  # noqa: F401  # fixtures
    allow_drivers_to_block,
    database_url,
    postgres_url,
    sqlite_url,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


@pytest.fixture(autouse=True)
def what_may_block(blockbuster):
    allow_drivers_to_block(blockbuster)


class Sleep:
    """`asyncio.sleep` that ends when the test says so."""

    def __init__(self):
        self.asked: asyncio.Queue[asyncio.Future] = asyncio.Queue()

    async def __call__(self, seconds: float):
        waiting = asyncio.get_running_loop().create_future()
        await self.asked.put(waiting)
        await waiting

    async def look(self):
        """Let one look at the file or the database happen, and wait until the next is due."""
        (await self.asked.get()).set_result(None)
        self.asked.put_nowait(await self.asked.get())


def make_key(key_id="team-a", *secrets, digester=None, **fields):
    """A key with these secrets, made at NOW."""
    principal = Principal(key_id, **{name: fields.pop(name) for name in list(fields) if name in Principal.__slots__})
    return Key(principal, tuple((digester or Digester()).stored(secret, NOW) for secret in secrets), NOW, **fields)
