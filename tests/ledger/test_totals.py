"""Any order and duplication of batches gives the same rows and the same sums of each day."""

import asyncio
import itertools
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from crplugins.core.usage import TokenUsage
from crplugins.ledger.database import LedgerDatabase
from crplugins.ledger.encoding import encode
from crplugins.ledger.inserts import DIMENSIONS
from crplugins.ledger.question import MEASURES
from crplugins.ledger.schema import usage, usage_daily
from tests.ledger.conftest import NOON, make_record, rows_of
from tests.long import times

NAMES = st.sampled_from([None, "a", "b"])
COUNTS = st.integers(0, 1000)


@st.composite
def records(draw):
    """Some records over three days, their ids given by their place."""
    number = draw(st.integers(1, 12))
    return [
        make_record(
            request_id=f"request-{place}",
            started_at=NOON + draw(st.integers(-2, 2)) * 43_200 + draw(st.sampled_from([0, 0.000001, -0.000001])),
            key_id=draw(NAMES),
            team=draw(NAMES),
            requested_model=draw(NAMES),
            served_model=draw(NAMES),
            provider=draw(NAMES),
            usage=TokenUsage(*(draw(COUNTS) for _ in range(5))),
            cost_micro_usd=draw(st.none() | COUNTS),
            provider_cost_micro_usd=draw(st.none() | COUNTS),
            outcome=draw(st.sampled_from(["ok", "client_error", "limited", "server_error", "cancelled"])),
            usage_source=draw(st.sampled_from(["provider", "estimated", "none"])),
        )
        for place in range(number)
    ]


@st.composite
def deliveries(draw):
    """Records, and batches of their places in which each stands at least once."""
    given_ = draw(records())
    places = draw(st.permutations(range(len(given_))))
    again = draw(st.lists(st.sampled_from(places), max_size=20))
    order = draw(st.permutations([*places, *again]))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1))
    batches, rest = [], list(order)
    for size in itertools.takewhile(lambda _: rest, itertools.cycle(sizes)):
        batches.append(rest[:size])
        del rest[:size]
    return given_, batches


def expected_days(given_):
    """By hand: the sums of each day and group."""
    days = {}
    for record in given_:
        day = datetime.fromtimestamp(record.started_at, UTC).date()
        key = (day, *(getattr(record, name) or "" for name in DIMENSIONS))
        counts = record.usage
        values = {
            "requests": 1,
            "errors": record.outcome not in ("ok", "cancelled"),
            "cost_micro_usd": record.cost_micro_usd or 0,
            "unpriced_requests": record.cost_micro_usd is None,
            "provider_cost_micro_usd": record.provider_cost_micro_usd or 0,
            "estimated_requests": record.usage_source == "estimated",
            **{name: getattr(counts, name) for name in MEASURES if name.endswith("_tokens")},
        }
        sums = days.setdefault(key, dict.fromkeys(MEASURES, 0))
        for name in MEASURES:
            sums[name] += int(values[name])
    return days


def test_batches_in_any_order_and_number_give_the_same_sums(database_url):
    """One event loop of our own: hypothesis calls synchronously, and connections belong to their loop."""
    with asyncio.Runner() as runner:
        database = LedgerDatabase(database_url)
        runner.run(database.prepare())

        @given(deliveries())
        @settings(max_examples=times(20, 1_000))
        def check(delivery):
            given_, batches = delivery
            rows, days = runner.run(deliver(database, given_, batches))
            assert [row["request_id"] for row in rows] == sorted(record.request_id for record in given_)
            assert {
                tuple(day[name] for name in ("day", *DIMENSIONS)): {name: day[name] for name in MEASURES}
                for day in days
            } == expected_days(given_)

        check()
        runner.run(database.close())


async def deliver(database, given_, batches):
    async with database.reading() as connection:
        await connection.execute(delete(usage))
        await connection.execute(delete(usage_daily))
        await connection.commit()
    lines = [encode(record) for record in given_]
    for batch in batches:
        await database.insert([lines[place] for place in batch])
    return await rows_of(database), await rows_of(database, usage_daily)


def test_the_measures_are_the_columns_of_the_table():
    assert tuple(column.name for column in usage_daily.c if not column.primary_key) == MEASURES
    assert tuple(column.name for column in usage_daily.primary_key)[1:] == DIMENSIONS
