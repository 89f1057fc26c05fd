"""Rows come in the order in which requests began, each once, however many are read at a time."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from crplugins.ledger.rows import EVERY_COLUMN, read_rows
from tests.ledger.conftest import NOON, make_record, settled

BEGIN = datetime.fromtimestamp(NOON, UTC)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
async def test_each_row_comes_once_in_order_also_where_several_began_at_once(open_ledger, size):
    rng = random.Random(size)
    moments = {f"r-{number:02}": NOON + rng.choice([0, 0.001, 1, 2.5, 7]) for number in range(20)}
    async with open_ledger() as ledger:
        for request_id, moment in moments.items():
            ledger.add(make_record(request_id=request_id, started_at=moment, ended_at=moment + 1))
        await settled(ledger)
        for since, until in [(None, 8), (0, 8), (1, 8), (0, 7), (3, 4)]:
            begin = None if since is None else BEGIN + timedelta(seconds=since)
            read = read_rows(ledger.reader, EVERY_COLUMN, begin, BEGIN + timedelta(seconds=until), size)
            slices = [rows async for rows in read]
            expected = sorted((m, i) for i, m in moments.items() if (since or 0) <= m - NOON < until)
            assert [row[1] for rows in slices for row in rows] == [request_id for _, request_id in expected]
            assert all(0 < len(rows) <= size for rows in slices)


async def test_what_waits_is_among_them_and_values_are_the_same_in_every_database(open_ledger):
    async with open_ledger() as ledger:
        ledger.add(make_record(request_id="r-2", started_at=NOON + 2))
        await settled(ledger)
    async with open_ledger(commit_seconds=30.0) as ledger:
        for second in (1, 3):
            ledger.add(make_record(request_id=f"r-{second}", started_at=NOON + second))
        assert ledger.pending == 2
        found = [rows async for rows in read_rows(ledger.reader, EVERY_COLUMN, None, BEGIN + timedelta(days=1), 2)]
    rows = [dict(zip(EVERY_COLUMN, row, strict=True)) for part in found for row in part]
    assert [row["request_id"] for row in rows] == ["r-1", "r-2", "r-3"]
    for row in rows:
        assert row["started_at"].tzinfo is UTC
        assert row["stream"] is True
        assert json.loads(row["tags"]) == {"env": "prod"}
        assert (row["ttft_ms"], row["input_tokens"], row["choices"]) == (250.5, 100, 2)


async def test_the_order_needs_its_columns_first(open_ledger):
    async with open_ledger() as ledger:
        with pytest.raises(ValueError, match="order"):
            [rows async for rows in read_rows(ledger.reader, ("request_id", "started_at"), None, BEGIN)]
