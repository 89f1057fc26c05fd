"""The file of SqliteStore: how it is made, shared, locked, damaged and kept small."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from crplugins.limits.limit import Charge
from crplugins.limits.sqlite import thread as sqlite_thread
from crplugins.limits.sqlite.file import LimitFileError, open_limit_file
from crplugins.limits.sqlite.store import SqliteStore
from crplugins.limits.sqlite.thread import Transactions
from crplugins.limits.store import StoreUnavailable
from tests.limits.conftest import DAY, lease, meter, request, window

NOW = 1_767_225_600_000
END = 4_000_000_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "limits.db"


@pytest.fixture
async def store(path):
    async with SqliteStore(path, clock=lambda: NOW) as store:
        yield store


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM limit_state").fetchone()[0]


async def test_the_file_and_those_beside_it_are_for_their_owner_only(path, store):
    await store.reserve(request(meter()))
    assert [stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()] == [0o600] * 3
    assert len(list(path.parent.iterdir())) == 3


async def test_what_is_used_outlives_the_store(path):
    async with SqliteStore(path, clock=lambda: NOW) as store:
        held = request(meter(), window(50, NOW + DAY), lease())
        await store.reserve(held)
    async with SqliteStore(path, clock=lambda: NOW) as store:
        decision = await store.reserve(request(*[charge.limit for charge in held.charges]))
        assert [level.used for level in decision.levels] == [1, 1, 1]
        assert await store.settle(held, [1, 1, 1])


async def test_many_that_start_at_once_on_a_new_file_all_start(path):
    stores = [SqliteStore(path) for _ in range(8)]
    await asyncio.gather(*[store.__aenter__() for store in stores])
    limit = meter(period=DAY)
    decisions = await asyncio.gather(*[store.reserve(request(limit)) for store in stores for _ in range(10)])
    assert [decision.refused for decision in decisions].count(None) == 50
    await asyncio.gather(*[store.__aexit__(None, None, None) for store in stores])


@pytest.mark.parametrize("content", [b"keys:\n- id: team-a\n" * 200, b"SQLite format 3\0" + b"\xff" * 5_000])
async def test_a_damaged_file_is_named_at_the_start(path, content):
    path.write_bytes(content)
    with pytest.raises(LimitFileError, match=f"the limit store {path} is damaged") as caught:
        async with SqliteStore(path):
            pass
    assert str(caught.value).endswith("move it away, and a new one is created")
    assert path.read_bytes() == content


async def test_a_place_where_no_file_can_be_is_named_at_the_start(path):
    with pytest.raises(LimitFileError, match="cannot be opened: No such file or directory"):
        async with SqliteStore(path.parent / "missing" / "limits.db"):
            pass
    with pytest.raises(LimitFileError, match="cannot be opened: Is a directory"):
        async with SqliteStore(path.parent):
            pass


async def test_a_table_of_that_name_that_is_another_is_an_error_at_the_start(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE limit_state (id)")
    with pytest.raises(LimitFileError, match="cannot be used: no such column"):
        async with SqliteStore(path):
            pass


async def test_a_file_that_stays_locked_at_the_start_is_an_error(path, monkeypatch):
    monkeypatch.setattr(sqlite_thread, "OPENING_SECONDS", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LimitFileError, match="is locked by another process"):
            async with SqliteStore(path):
                pass


async def test_a_locked_file_is_waited_for_briefly(path, store):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="^the limit store is locked by another process$"):
            await store.reserve(request(meter()))
        assert time.monotonic() - before >= sqlite_thread.BUSY_SECONDS
        other.execute("ROLLBACK")
    assert (await store.reserve(request(meter()))).levels[0].used == 0


async def test_a_lock_of_a_few_milliseconds_is_not_noticed(path, store):
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.01, other.execute, ["ROLLBACK"]).start()
        assert (await store.reserve(request(meter()))).refused is None
        await asyncio.to_thread(time.sleep, 0.02)


async def test_a_file_that_fails_is_opened_anew(path, store):
    await store.reserve(request(meter()))
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE limit_state")
    with pytest.raises(StoreUnavailable, match=f"^the limit store {path} cannot be used: no such table: limit_state$"):
        await store.reserve(request(meter()))
    assert (await store.reserve(request(meter()))).levels[0].used == 0


async def test_a_store_that_is_not_open_is_unavailable(path):
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.levels([meter()])
    async with store:
        await store.levels([meter()])
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.levels([meter()])
    async with store:
        await store.levels([meter()])


async def test_calls_of_the_same_moment_share_transactions(store, monkeypatch):
    numbers = []
    run = Transactions.run

    def counted(transactions, calls):
        numbers.append(len(calls))
        return run(transactions, calls)

    monkeypatch.setattr(Transactions, "run", counted)
    await asyncio.gather(*[store.reserve(request(meter(), lease())) for _ in range(150)])
    assert sum(numbers) == 150
    assert len(numbers) < 10


async def test_one_call_that_is_wrong_harms_no_other(path, store):
    held = [request(meter()) for _ in range(3)]
    await asyncio.gather(*[store.reserve(each) for each in held])
    costs = [[0], [0, 0], [0]]
    answers = await asyncio.gather(
        *[store.settle(each, cost) for each, cost in zip(held, costs, strict=True)], return_exceptions=True
    )
    assert [answers[0], answers[2]] == [True, True]
    assert isinstance(answers[1], ValueError)
    assert (await store.levels([meter()]))[0].used == 1


async def test_a_use_beyond_all_numbers_harms_nobody(store):
    limits = window(50, NOW + DAY), meter()
    held = request(*limits)
    await store.reserve(held)
    assert await store.settle(held, [10**30, 10**30])
    assert [level.used for level in await store.levels(limits)] == [2**63 - 1, 50 * 61]


async def test_a_reservation_that_is_cancelled_can_be_given_back(store):
    held = request(meter(), lease())
    task = asyncio.create_task(store.reserve(held))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.settle(held, [0, 1])
    assert [level.used for level in await store.levels([meter(), lease()])] == [0, 0]


async def test_closing_carries_out_what_was_asked_before(path):
    async with SqliteStore(path) as store:
        calls = [asyncio.create_task(store.reserve(request(meter(period=DAY)))) for _ in range(300)]
        await asyncio.sleep(0)
    assert [(await call).refused for call in calls].count(None) == 50


async def test_rows_that_have_no_effect_any_more_are_deleted(path):
    """20,000 requests in 20 minutes, each of another key, none of them settled. The table holds what lives a minute."""
    now = NOW
    most = 0
    async with SqliteStore(path, clock=lambda: now) as store:
        for number in range(0, 20_000, 100):
            now += 6_000
            some = [
                request(meter(key=f"{key}/requests"), window(5, now // 60_000 * 60_000 + 60_000, key=f"{key}/usd"))
                for key in range(number, number + 100)
            ]
            await asyncio.gather(*[store.reserve(each, lease=30_000) for each in some])
            most = max(most, rows(path))
    assert 1_000 < most < 8_000  # of 60,000


async def test_what_was_held_before_the_machine_was_started_again_is_held_by_nobody(path, monkeypatch):
    """Its clock begins anew then, and a place that somebody held at the end would be taken for as long as it ran before."""
    monkeypatch.setattr(time, "monotonic_ns", lambda: 90 * 86_400 * 1_000_000_000)
    held = request(lease(1), Charge(window(50, END), 40))
    async with SqliteStore(path) as store:
        assert (await store.reserve(held)).refused is None
    monkeypatch.setattr(time, "monotonic_ns", lambda: 30 * 1_000_000_000)
    async with SqliteStore(path) as store:
        assert [level.used for level in await store.levels([lease(1), window(50, END)])] == [0, 40]
        assert not await store.settle(held, [1, 0])
        assert (await store.reserve(request(lease(1)))).refused is None


async def test_a_sweep_after_the_clock_was_set_deletes_nothing_that_is_held(path, monkeypatch):
    wall = time.time_ns
    held = request(lease(1))
    async with SqliteStore(path) as store:
        await store.reserve(held)
        monkeypatch.setattr(time, "time_ns", lambda: wall() + 86_400_000 * 1_000_000_000)
        for number in range(1_200):  # enough rows for two sweeps
            await store.seed(window(50, END, key=f"{number}"), 1)
        assert (await store.reserve(request(lease(1)))).refused == 0
        assert await store.settle(held, [1])


async def test_as_many_leases_as_one_likes(path, store):
    limit = lease(2_000)
    held = [request(limit) for _ in range(2_000)]
    decisions = await asyncio.gather(*[store.reserve(each) for each in held])
    assert {decision.refused for decision in decisions} == {None}
    assert (await store.reserve(request(limit))).refused == 0
    await store.renew(held, lease=60_000)
    assert all(await asyncio.gather(*[store.settle(each, [1]) for each in held]))
    assert (await store.levels([limit]))[0].used == 0


async def test_keys_of_any_spelling_are_kept_apart(store):
    keys = ["a", "A", "a ", "ä", "reservation", "' OR 1=1 --", "\U0001f600", "a\x00b", "%", ""]
    for number, key in enumerate(keys, 1):
        await store.reserve(request(Charge(meter(key=key), number)))
    levels = await store.levels([meter(key=key) for key in keys])
    assert [level.used for level in levels] == list(range(1, len(keys) + 1))


def test_a_second_store_of_a_process_lets_go_of_no_lock_of_the_first(path):
    """As over a reload that changes how outages are met. Another process would take the write-ahead log away."""
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT count(*) FROM limit_state').fetchone()[0]); c.close()"

    def counted_elsewhere() -> int:
        done = subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=True, timeout=60
        )
        return int(done.stdout)

    with closing(open_limit_file(path, 1, 0)) as first:
        open_limit_file(path, 1, 0).close()
        assert counted_elsewhere() == 0
        first.execute("INSERT INTO limit_state VALUES ('a', 1, 2)")
        assert counted_elsewhere() == 1
    assert path.stat().st_mode & 0o777 == 0o600
