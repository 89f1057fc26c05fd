"""The event loop goes on while records are written."""

import asyncio
import sys
import time

from crplugins.ledger.writer import BATCH
from tests.ledger.conftest import make_record, settled, totals_of

RATE = 5_000


async def test_the_loop_is_free_while_five_thousand_records_come_in_a_second(open_ledger):
    """Judged by the calls that the ledger makes in one turn of the loop, the same on every machine.

    A batch may cost some calls for each of its records. What blocks without a call is found by blockbuster.
    """
    records = [make_record() for _ in range(RATE)]
    async with open_ledger(commit_seconds=0.05) as ledger:
        ledger.add(make_record())  # statements are compiled once
        await settled(ledger)
        most = await _most_calls(ledger, records)
        await settled(ledger)
        assert await totals_of(ledger) == (RATE + 1, RATE + 1)
    assert 0 < most < 20 * BATCH
    assert (ledger.dropped, ledger.unjournaled) == (0, 0)


async def _most_calls(ledger, records):
    """The most function calls, in Python or C, between two turns of the loop."""
    most, calls, added, begun = 0, 0, 0, time.perf_counter()

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    try:
        while added < len(records):
            due = min(int((time.perf_counter() - begun) * RATE) + 1, added + 50, len(records))
            for record in records[added:due]:
                ledger.add(record)
            added, calls = due, 0
            sys.setprofile(count)
            await asyncio.sleep(0)
            sys.setprofile(before)
            most = max(most, calls)
    finally:
        sys.setprofile(before)
    return most
