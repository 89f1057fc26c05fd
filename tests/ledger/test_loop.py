"""The event loop goes on while records are written."""

import asyncio
import gc
import time

from tests.ledger.conftest import make_record, settled, totals_of

RATE = 5_000


async def test_the_loop_is_free_while_five_thousand_records_come_in_a_second(open_ledger):
    """Judged by what the ledger's own steps take of its thread: how late a busy machine wakes us says nothing."""
    records = [make_record() for _ in range(RATE)]
    async with open_ledger(pause=0.05) as ledger:
        slowest = await _slowest_step(ledger, records)
        await settled(ledger)
        assert await totals_of(ledger) == (RATE, RATE)
    assert slowest < 0.010
    assert (ledger.dropped, ledger.unjournaled) == (0, 0)


async def _slowest_step(ledger, records):
    """The most CPU time of this thread between two turns of the loop, in seconds."""
    slowest, added, begun = 0.0, 0, time.perf_counter()
    gc.disable()  # its pauses are those of the whole test run
    try:
        while added < len(records):
            due = min(int((time.perf_counter() - begun) * RATE) + 1, added + 50, len(records))
            for record in records[added:due]:
                ledger.add(record)
            added = due
            before = time.thread_time()
            await asyncio.sleep(0)
            slowest = max(slowest, time.thread_time() - before)
    finally:
        gc.enable()
    return slowest
