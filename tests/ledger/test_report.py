"""Questions to the ledger, against sums made by hand."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.core.usage import TokenUsage
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.journal import Journal
from crplugins.ledger.question import (
    GROUPS,
    MEASURES,
    Question,
    Sums,
    cost_usd,
    read_groups,
    read_moment,
    sums_to_dict,
    total_of,
)
from crplugins.ledger.reader import LedgerReader
from crplugins.ledger.report import answer
from tests.ledger.conftest import NOON, make_record, settled
from tests.long import times

NOW = datetime.fromtimestamp(NOON, UTC)
DAY = timedelta(days=1)


def make_records():
    dice = random.Random(7)
    return [
        make_record(
            started_at=NOON + dice.choice([-1, 0, 1, 2]) * 86_400 + dice.choice([0, 43_200, -43_200, 1.5, 3600]),
            key_id=dice.choice(["a", "b", None]),
            team=dice.choice(["x", None]),
            user=dice.choice(["u", "v", None]),
            requested_model=dice.choice(["fast", "big", None]),
            served_model=dice.choice(["m1", "m2"]),
            provider=dice.choice(["openai", "groq"]),
            outcome=(outcome := dice.choice(["ok", "limited", "cancelled"])),
            error_type="" if outcome == "ok" else "internal",
            usage=TokenUsage(*(dice.randrange(100) for _ in range(5))),
            usage_source=dice.choice(["provider", "estimated", "cache"]),
            cost_micro_usd=dice.choice([None, 5, 7]),
            provider_model=dice.choice(["m1-2026-01-01", None]),
            service_tier=dice.choice(["flex", None]),
            endpoint=dice.choice(["chat", "embeddings"]),
            cost_source=dice.choice(["table", "provider", None]),
            provider_cost_micro_usd=dice.choice([None, 6]),
        )
        for _ in range(250)
    ]


def by_hand(records, question):
    groups = {} if question.by else {(): []}
    for record in records:
        moment = datetime.fromtimestamp(record.started_at, UTC)
        values = {
            name: moment.date().isoformat() if name == "day" else getattr(record, GROUPS[name]) for name in GROUPS
        }
        if (question.since and moment < question.since) or (question.until and moment >= question.until):
            continue
        if all((values[name] or "") == value for name, value in question.only.items()):
            groups.setdefault(tuple(values[name] or None for name in question.by), []).append(record)
    columns = [GROUPS[name] for name in question.by]
    return [_sums(dict(zip(columns, group, strict=True)), found) for group, found in groups.items()]


def _sums(group, records):
    tokens = [name for name in MEASURES if name.endswith("_tokens")]
    return Sums(
        group=group,
        requests=len(records),
        errors=sum(record.outcome == "limited" for record in records),
        cost_micro_usd=sum(record.cost_micro_usd or 0 for record in records),
        provider_cost_micro_usd=sum(record.provider_cost_micro_usd or 0 for record in records),
        unpriced_requests=sum(record.cost_micro_usd is None for record in records),
        estimated_requests=sum(record.usage_source == "estimated" for record in records),
        **{
            name: sum(getattr(record.usage, name) for record in records if record.usage_source != "cache")
            for name in tokens
        },
    )


def unordered(lines):
    return sorted(lines, key=lambda line: str(line.group))


MOMENTS = st.none() | st.builds(
    lambda days, seconds: NOW + days * DAY / 2 + timedelta(seconds=seconds),
    st.integers(-6, 8),
    st.sampled_from([0, 0, 0.000001, 1.5, 7200]),
)
QUESTIONS = st.builds(
    Question,
    by=st.lists(st.sampled_from(sorted(GROUPS)), unique=True, max_size=3),
    since=MOMENTS,
    until=MOMENTS,
    only=st.dictionaries(
        st.sampled_from(["key", "team", "model", "user", "outcome"]),
        st.sampled_from(["a", "x", "fast", "u", "ok", ""]),
        max_size=2,
    ),
)


def test_every_answer_is_what_one_would_add_up_by_hand(database_url, tmp_path):
    records = make_records()
    with asyncio.Runner() as runner:
        database = LedgerDatabase(database_url)
        lines = [encode(record) for record in records]
        runner.run(database.insert(lines[:150]))
        journal = Journal.create(tmp_path / "spool")  # the others are not committed yet, or have been meanwhile
        assert all(journal.append(line) for line in lines[100:])

        @given(QUESTIONS)
        @settings(max_examples=times(40, 2_000))
        def check(question):
            assert unordered(runner.run(_ask(database, question, tmp_path / "spool"))) == unordered(
                by_hand(records, question)
            )

        check()
        journal.close()
        runner.run(database.close())


async def _ask(database, question, spool):
    return await answer(LedgerReader(database, spool), question)


async def test_days_come_in_their_order_and_the_most_expensive_first(open_ledger):
    rows = [("b", 0, 5), ("a", 1, 1), ("c", 0, 900), ("a", 0, 7)]
    async with open_ledger() as ledger:
        for key, day, cost in rows:
            ledger.add(make_record(key_id=key, started_at=NOON + day * 86_400, cost_micro_usd=cost))
        await settled(ledger)
        by_key = await ledger.answer(Question(["key"]))
        by_both = await ledger.answer(Question(["day", "key"]))
    assert [line.group["key_id"] for line in by_key] == ["c", "a", "b"]
    assert [tuple(line.group.values()) for line in by_both] == [
        ("2026-06-01", "c"), ("2026-06-01", "a"), ("2026-06-01", "b"), ("2026-06-02", "a"),
    ]  # fmt: skip


async def test_an_empty_ledger_has_one_line_of_zeros_and_no_groups(open_ledger):
    async with open_ledger() as ledger:
        (line,) = await ledger.answer(Question())
        assert await ledger.answer(Question(["key"])) == []
    assert line == total_of([])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30m", NOW - timedelta(minutes=30)),
        ("24h", NOW - DAY),
        ("7d", NOW - 7 * DAY),
        ("2w", NOW - 14 * DAY),
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T10:00:00Z", datetime(2026, 5, 1, 10, tzinfo=UTC)),
        ("2026-05-01T10:00:00+02:00", datetime(2026, 5, 1, 8, tzinfo=UTC)),
        ("2026-05-01 10:00", datetime(2026, 5, 1, 10, tzinfo=UTC)),
    ],
)
def test_a_moment_is_so_long_ago_or_a_date(text, moment):
    assert read_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59", "9999-12-31", "9999-12-31T23:59:59.999999Z"])
async def test_the_last_day_of_the_calendar_is_an_end_like_any_other(open_ledger, text):
    end = read_moment(text, NOW)
    async with open_ledger() as ledger:
        ledger.add(make_record())
        await settled(ledger)
        for by in (["key"], ["user"]):
            assert [line.requests for line in await ledger.answer(Question(by, until=end))] == [1]
            assert await ledger.answer(Question(by, since=end)) == []


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "d", "-7d", "7 d", "2026-13-01", "999999w", "0001-01-01T00:00:00+14:00"]
)
def test_anything_else_is_no_moment(text):
    with pytest.raises(ValueError, match="must be a time ago"):
        read_moment(text, NOW)


def test_groups_are_known_names_and_each_once():
    assert read_groups(" key, model ,") == ["key", "model"]
    assert read_groups("") == []
    with pytest.raises(ValueError, match="knows no 'keys', only key, team"):
        read_groups("keys")
    with pytest.raises(ValueError, match="twice"):
        read_groups("key,key")


@pytest.mark.parametrize(
    ("cost", "unpriced", "shown"), [(1_500_000, 0, 1.5), (1_500_000, 2, 1.5), (0, 2, None), (0, 0, 0.0)]
)
def test_an_unknown_cost_is_not_zero(cost, unpriced, shown):
    sums = Sums(group={}, **(dict.fromkeys(MEASURES, 0) | {"cost_micro_usd": cost, "unpriced_requests": unpriced}))
    assert cost_usd(sums) == shown
    assert sums_to_dict(sums)["unpriced_requests"] == unpriced
