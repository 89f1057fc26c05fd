"""Ledgers on each test's own database, and records to put there."""

import asyncio
import time

import msgspec
import pytest
from sqlalchemy import func, select

from crplugins.core.exchange import new_request_id
from crplugins.core.usage import TokenUsage
from crplugins.ledger.ledger import Ledger
from crplugins.ledger.schema import usage, usage_daily
from crplugins.metering.record import UsageRecord
from tests.postgresql_setup import (  # noqa: F401  # fixtures
    allow_drivers_to_block,
    database_url,
    postgres_url,
    sqlite_url,
)

NOON = 1_780_315_200.0  # 2026-06-01 12:00 UTC
SOON = (0.01, 0.1)
"""`retry_seconds` for tests in which something fails."""

_RECORD = UsageRecord(
    request_id="",
    started_at=NOON,
    ended_at=NOON + 1.5,
    key_id="team-a",
    team="search",
    user="u-1",
    tags={"env": "prod"},
    requested_model="fast",
    served_model="gpt-4o-mini-2024-07-18",
    provider="openai",
    stream=True,
    status=200,
    outcome="ok",
    error_type="",
    finish_reason="stop",
    usage=TokenUsage(100, 20, 30, 4, 5),
    usage_source="provider",
    cost_micro_usd=123,
    provider_model="gpt-4o-mini-2024-07-18-eu",
    service_tier="flex",
    cost_source="table",
    provider_cost_micro_usd=121,
    attempts=1,
    ttft_ms=250.5,
    time_per_output_token_ms=12.5,
    longest_gap_ms=80.0,
    duration_ms=1500.0,
    overhead_us=321,
    asked_ms=0.5,
    queued_ms=0.25,
    admitted_ms=1.5,
    settled_ms=1501.0,
    expected_input_tokens=90,
    output_limit=300,
    choices=2,
    endpoint="messages",
)


@pytest.fixture(autouse=True)
def what_may_block(blockbuster):
    allow_drivers_to_block(blockbuster)


@pytest.fixture
def open_ledger(database_url, tmp_path):  # noqa: F811
    """Makes ledgers on one and the same database and spool."""
    return lambda **options: Ledger(database_url, spool=tmp_path / "spool", **{"commit_seconds": 0.0} | options)


def make_record(**fields):
    """A record, with an id of its own unless one is given."""
    return msgspec.structs.replace(_RECORD, request_id=fields.pop("request_id", None) or new_request_id(), **fields)


async def until(condition, seconds=60.0):
    """Wait for what other tasks, threads or servers bring about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.005)


async def settled(ledger):
    """Everything is in the database."""
    await until(lambda: not ledger.pending and not ledger.spooled)


async def rows_of(ledger, table=usage):
    async with ledger.reading() as connection:
        return [row._asdict() for row in await connection.execute(select(table).order_by(*table.primary_key))]


async def ids_of(ledger):
    async with ledger.reading() as connection:
        return list(await connection.scalars(select(usage.c.request_id).order_by(usage.c.request_id)))


async def totals_of(ledger):
    """Requests in `usage` and in `usage_daily`."""
    async with ledger.reading() as connection:
        rows = (await connection.execute(select(func.count()).select_from(usage))).scalar_one()
        days = (await connection.execute(select(func.sum(usage_daily.c.requests)))).scalar_one()
    return rows, int(days or 0)
