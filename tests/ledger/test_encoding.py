"""Whatever stands in a record, its line is one that every database takes."""

import json
import logging

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.usage import TokenUsage
from crplugins.ledger.encoding import LARGEST_COUNT, LONGEST_TEXT, encode
from tests.ledger.conftest import make_record, rows_of, settled, totals_of

HUGE = 10**30
TEXTS = (
    "key_id", "team", "user", "requested_model", "served_model", "provider", "finish_reason", "provider_model",
    "service_tier",
)  # fmt: skip
HOSTILE = {
    "nul": "a\0b",
    "surrogate": "a\ud800b",
    "escaped": 'quote " backslash \\u0000 newline \n',
    "long": "m" * 100_000,
    "wide": "☃" * 10_000,
    "sql": "'; DROP TABLE usage; --",
    "empty": "",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_texts_keep_no_record_out(open_ledger, text):
    hostile = make_record(**dict.fromkeys(TEXTS, text), tags={text: text})
    async with open_ledger() as ledger:
        for record in (make_record(), hostile, make_record()):
            ledger.add(record)
        await settled(ledger)
        assert await totals_of(ledger) == (3, 3)
        row = next(row for row in await rows_of(ledger) if row["request_id"] == hostile.request_id)
    assert all(len((row[name] or "").encode()) <= LONGEST_TEXT for name in TEXTS)
    assert row["user"].startswith(text[:1])


async def test_token_counts_that_are_too_large_keep_no_record_out(open_ledger, caplog):
    async with open_ledger() as ledger:
        for count in (HUGE, -HUGE, LARGEST_COUNT):
            usage = TokenUsage(count, count, count, count, count)
            ledger.add(make_record(usage=usage, cost_micro_usd=count, provider_cost_micro_usd=count))
        await settled(ledger)
        assert await totals_of(ledger) == (3, 3)
        for name in ("input_tokens", "cost_micro_usd", "provider_cost_micro_usd"):
            assert sorted(row[name] for row in await rows_of(ledger)) == [-LARGEST_COUNT, *2 * [LARGEST_COUNT]]
    assert caplog.text.count("are too large") == 2


def test_an_ordinary_record_is_written_as_it_is():
    record = make_record(user='ann "\\" müller')
    assert msgspec.json.decode(encode(record), type=type(record)) == record


@given(
    texts=st.lists(st.none() | st.text(st.characters(), max_size=40), min_size=len(TEXTS), max_size=len(TEXTS)),
    tags=st.dictionaries(st.text(st.characters(), max_size=5), st.text(st.characters(), max_size=5)),
    counts=st.lists(st.integers(), min_size=7, max_size=7),
    cost=st.none() | st.integers(),
)
def test_encoding_never_fails_and_is_plain_json(caplog, texts, tags, counts, cost):
    caplog.set_level(logging.CRITICAL)
    record = make_record(
        **dict(zip(TEXTS, texts, strict=True)), tags=tags, usage=TokenUsage(*counts), cost_micro_usd=cost
    )
    line = encode(record)
    read = json.loads(line)
    assert b"\n" not in line
    assert "\0" not in "".join(str(value) for value in read.values())
    assert set(read) == set(record.__struct_fields__)
    assert all(abs(count) <= max(LARGEST_COUNT, *map(abs, counts[5:])) for count in read["usage"].values())
