"""The ledger keeps every record, each once: in the database, and while that is away elsewhere."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime

import pytest

from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.ledger import Ledger, spool_path
from crplugins.ledger.schema import usage_daily
from tests.ledger.conftest import NOON, ids_of, make_record, rows_of, settled, totals_of


async def test_a_record_becomes_a_row_with_all_its_fields(open_ledger):
    record = make_record(started_at=NOON + 0.123456)
    async with open_ledger() as ledger:
        ledger.add(record)
        await settled(ledger)
        (row,) = await rows_of(ledger)
    assert row == {
        "request_id": record.request_id,
        "started_at": datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC),
        "ended_at": datetime(2026, 6, 1, 12, 0, 1, 500000, tzinfo=UTC),
        "key_id": "team-a", "team": "search", "user": "u-1",
        "requested_model": "fast", "served_model": "gpt-4o-mini-2024-07-18", "provider": "openai",
        "stream": True, "status": 200, "outcome": "ok", "error_type": "", "finish_reason": "stop",
        "input_tokens": 100, "output_tokens": 20, "cached_input_tokens": 30, "cache_write_input_tokens": 4,
        "reasoning_output_tokens": 5, "usage_source": "provider", "cost_micro_usd": 123, "attempts": 1,
        "ttft_ms": 250.5, "duration_ms": 1500.0, "overhead_us": 321, "tags": {"env": "prod"},
        "provider_model": "gpt-4o-mini-2024-07-18-eu", "service_tier": "flex", "cost_source": "table",
        "provider_cost_micro_usd": 121, "asked_ms": 0.5, "queued_ms": 0.25, "admitted_ms": 1.5, "settled_ms": 1501.0,
        "expected_input_tokens": 90, "output_limit": 300, "choices": 2, "endpoint": "messages",
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
async def test_texts_of_any_language_are_kept_in_a_file_of_any_encoding(encoding, tmp_path):
    file = tmp_path / "usage.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE own (id)")  # from now on the file has its encoding
    records = [make_record(request_id=f"r-{user}", user=user) for user in ("Zoë", "雪", "☃\U0001f980", "plain")]
    async with Ledger(f"sqlite:///{file}", commit_seconds=0) as ledger:
        for record in records:
            ledger.add(record)
        await settled(ledger)
        assert {row["request_id"]: row["user"] for row in await rows_of(ledger)} == {
            record.request_id: record.user for record in records
        }
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA encoding").fetchone() == (encoding,)


async def test_what_is_not_known_is_null_and_an_unknown_price_is_no_zero(open_ledger):
    unknown = dict.fromkeys(
        [
            "key_id",
            "team",
            "user",
            "requested_model",
            "served_model",
            "provider",
            "finish_reason",
            "cost_micro_usd",
            "ttft_ms",
            "provider_model",
            "service_tier",
            "cost_source",
            "provider_cost_micro_usd",
            "asked_ms",
            "queued_ms",
            "admitted_ms",
            "settled_ms",
            "expected_input_tokens",
            "output_limit",
            "choices",
        ]
    )
    async with open_ledger() as ledger:
        ledger.add(make_record(**unknown, tags={}))
        await settled(ledger)
        (row,) = await rows_of(ledger)
        (day,) = await rows_of(ledger, usage_daily)
    assert {name: row[name] for name in unknown} == unknown
    assert (day["key_id"], day["cost_micro_usd"], day["unpriced_requests"]) == ("", 0, 1)


async def test_the_days_are_utcs_and_add_up(open_ledger):
    midnight = NOON + 12 * 3600
    records = [
        make_record(started_at=midnight - 0.000001, outcome="server_error", error_type="internal", cost_micro_usd=None),
        make_record(started_at=midnight, usage_source="estimated"),
        make_record(started_at=midnight + 1, outcome="cancelled", error_type="client_disconnected"),
        make_record(started_at=midnight + 1, outcome="limited", error_type="rate_limited", key_id="team-b"),
    ]
    async with open_ledger() as ledger:
        for record in records:
            ledger.add(record)
            await settled(ledger)
        days = await rows_of(ledger, usage_daily)
    names = (
        "day",
        "key_id",
        "requests",
        "errors",
        "input_tokens",
        "cost_micro_usd",
        "unpriced_requests",
        "estimated_requests",
    )
    assert [tuple(day[name] for name in names) for day in days] == [
        (date(2026, 6, 1), "team-a", 1, 1, 100, 0, 1, 0),
        (date(2026, 6, 2), "team-a", 2, 0, 200, 246, 0, 1),
        (date(2026, 6, 2), "team-b", 1, 1, 100, 123, 0, 0),
    ]


async def test_a_record_that_comes_twice_counts_once(open_ledger):
    record = make_record()
    async with open_ledger() as ledger:
        for _ in range(3):
            ledger.add(record)
            ledger.add(record)
            await settled(ledger)
        assert await totals_of(ledger) == (1, 1)
    async with open_ledger() as ledger:
        ledger.add(record)
        await settled(ledger)
        assert await totals_of(ledger) == (1, 1)


async def test_processes_that_write_the_same_at_once_count_it_once(open_ledger):
    records = [make_record(key_id=f"key-{number % 7}") for number in range(400)]
    async with open_ledger() as first, open_ledger() as second, open_ledger() as third:
        for ledger, order in ((first, records), (second, records[::-1]), (third, records[200:] + records[:200])):
            for record in order:
                ledger.add(record)
        await asyncio.gather(*map(settled, (first, second, third)))
        assert await totals_of(first) == (400, 400)


async def test_leaving_brings_everything_into_the_database(open_ledger, tmp_path):
    records = [make_record() for _ in range(1000)]
    async with open_ledger() as ledger:
        for record in records:
            ledger.add(record)
    assert ledger.pending == 0
    assert not list(tmp_path.glob("spool*"))
    async with open_ledger() as ledger:
        assert await ids_of(ledger) == sorted(record.request_id for record in records)


async def test_what_comes_after_the_end_is_counted_as_lost_and_said(open_ledger, caplog):
    async with open_ledger() as ledger:
        pass
    ledger.add(make_record())
    assert (ledger.dropped, ledger.pending) == (1, 0)
    assert "records are lost, 1 so far" in caplog.text


async def test_what_a_key_or_team_has_spent_since_a_moment(open_ledger):
    async with open_ledger() as ledger:
        ledger.add(make_record(started_at=NOON - 1, cost_micro_usd=1))
        ledger.add(make_record(started_at=NOON, cost_micro_usd=20))
        ledger.add(make_record(started_at=NOON + 86_400, cost_micro_usd=300))
        ledger.add(make_record(started_at=NOON, cost_micro_usd=None))
        ledger.add(make_record(started_at=NOON, cost_micro_usd=4000, key_id="team-b"))
        await settled(ledger)
        noon = datetime.fromtimestamp(NOON, UTC)
        assert await ledger.spent("key", "team-a", noon) == 320
        assert await ledger.spent("team", "search", noon) == 4320
        assert await ledger.spent("key", "nobody", noon) == 0


async def test_records_that_come_one_by_one_are_written_one_by_one(open_ledger):
    async with open_ledger(commit_seconds=0.0) as ledger:
        ledger.add(make_record())
        await settled(ledger)
        ledger.add(make_record())
        await settled(ledger)
        assert (ledger.pending, ledger.spooled, ledger.dropped, ledger.unjournaled) == (0, 0, 0, 0)


def test_the_spool_lies_beside_the_database(tmp_path):
    assert spool_path(LedgerDatabase("sqlite:////data/usage.db")).as_posix() == "/data/usage.db.spool"
    assert spool_path(LedgerDatabase("sqlite:///usage.db")).as_posix() == "usage.db.spool"
    assert spool_path(LedgerDatabase("postgresql://h/db")).as_posix() == "crplugins-spool.db"
    assert spool_path(LedgerDatabase("postgresql://h/db"), "/x/y").as_posix() == "/x/y"


def test_a_password_is_not_shown():
    assert "hunter2" not in repr(Ledger("postgresql://u:hunter2@h/db"))
