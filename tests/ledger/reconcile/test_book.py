"""The ledger's side: sums that the database makes, against sums made by hand."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from crplugins.core.usage import TokenUsage
from crplugins.ledger.reconcile.amounts import NOTHING, BookedAmounts, Entry
from crplugins.ledger.reconcile.book import read_book
from tests.ledger.conftest import NOON, make_record, settled
from tests.postgresql_setup import database_url, postgres_url, sqlite_url  # noqa: F401

JUNE_1 = date(2026, 6, 1)
MIDNIGHT = NOON + 43_200


def day(number):
    return JUNE_1 + timedelta(days=number)


@pytest.fixture
def book(open_ledger):
    """Keeps records, and asks for the entries of some days."""

    async def read(records, first=0, last=0, provider=None):
        async with open_ledger() as ledger, open_ledger(commit_seconds=60) as waiting:
            for place, record in enumerate(records):
                ledger.add(record) if place % 3 else waiting.add(record)
            await settled(ledger)
            return await read_book(ledger.reader, day(first), day(last), provider)

    return read


def record(**fields):
    return make_record(**{"provider_model": "gpt-5-2025-08-07", "served_model": "gpt-5", "service_tier": None} | fields)


def by_hand(records, first, last, provider):
    """`{what an entry is grouped by: [amounts, unpriced, uncounted]}`."""
    groups = {}
    for found in records:
        began = datetime.fromtimestamp(found.started_at, UTC)
        ended = datetime.fromtimestamp(found.ended_at, UTC) + timedelta(minutes=15)
        late = ended.date() > began.date()
        inside = first <= began.date() <= last or (began.date() == first - timedelta(days=1) and late)
        uncounted = found.usage_source == "none" and found.outcome in ("ok", "cancelled")
        ours = found.provider in (provider, None) or provider is None
        if not inside or not ours or (found.usage_source in ("none", "cache") and not uncounted):
            continue
        names = (found.provider_model or "", found.served_model or "")
        key = (began.date(), names, found.service_tier or "", late, found.usage_source)
        sums = groups.setdefault(key, [NOTHING, 0, 0])
        if uncounted:
            sums[2] += 1
        else:
            used = found.usage
            amounts = (used.input_tokens, used.cached_input_tokens, used.cache_write_input_tokens, used.output_tokens)
            sums[0] = sums[0].plus(BookedAmounts(1, *amounts, found.cost_micro_usd or 0))
            sums[1] += found.cost_micro_usd is None
    return groups


async def test_sums_are_those_made_by_hand(book):
    dice = random.Random(11)
    records = []
    for _ in range(400):
        began = NOON + dice.choice([-2, -1, 0, 1, 2]) * 86_400 + dice.choice([0, -43_200, 42_299, 42_301, 43_199])
        records.append(
            record(
                started_at=began,
                ended_at=began + dice.choice([0.1, 1.5, 2_000]),
                provider=dice.choice(["openai", "azure", None]),
                provider_model=dice.choice(["gpt-5-2025-08-07", None]),
                served_model=dice.choice(["gpt-5", "gpt-5-mini", None]),
                service_tier=dice.choice(["default", "priority", None]),
                outcome=dice.choice(["ok", "cancelled", "server_error"]),
                usage=TokenUsage(*(dice.randrange(100) for _ in range(5))),
                usage_source=dice.choice(["provider", "estimated", "none", "cache"]),
                cost_micro_usd=dice.choice([None, 5, 7]),
            )
        )
    for first, last, provider in ((0, 0, None), (-1, 1, "openai")):
        entries = await book(records, first, last, provider)
        expected = by_hand(records, day(first), day(last), provider)
        assert len(entries) == len(expected)
        for entry in entries:
            source = "none" if entry.uncounted else "estimated" if entry.estimated else "provider"
            sums = expected[entry.day, entry.names, entry.tier, entry.late, source]
            assert [entry.amounts, entry.unpriced, entry.uncounted] == sums


async def test_a_request_is_late_if_it_ended_near_midnight_or_behind_it(book):
    moments = [(-901, 0.5), (-899, 0.5), (-7_200, 7_300), (-7_200, 6_000), (-0.5, 1.0)]
    records = [record(started_at=MIDNIGHT + begin, ended_at=MIDNIGHT + begin + length) for begin, length in moments]
    entries = await book(records)
    assert {entry.late: entry.amounts.requests for entry in entries} == {False: 2, True: 3}


async def test_what_was_not_asked_of_a_provider_is_not_in_the_book(book):
    records = [
        record(usage_source="cache", usage=TokenUsage(9, 9), cost_micro_usd=0),
        record(usage_source="none", usage=TokenUsage(), outcome="client_error"),
        record(usage_source="none", usage=TokenUsage(), outcome="limited"),
        record(usage_source="provider", provider="anthropic"),
    ]
    assert await book(records, provider="openai") == []


async def test_an_answer_without_tokens_is_counted_apart(book):
    records = [record(usage_source="none", usage=TokenUsage(), cost_micro_usd=0) for _ in range(3)]
    names = ("gpt-5-2025-08-07", "gpt-5")
    assert await book(records) == [Entry(JUNE_1, names, "", late=False, estimated=False, amounts=NOTHING, uncounted=3)]


async def test_the_database_sends_groups_and_no_rows(book):
    records = [record(started_at=NOON + n, ended_at=NOON + n + 1) for n in range(500)]
    entries = await book(records)
    assert len(entries) == 1
    assert entries[0].amounts.requests == 500
