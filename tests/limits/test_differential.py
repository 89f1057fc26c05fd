"""All stores decide alike. Another store's tests import `differences` and add their own pair."""

from collections import Counter

import pytest

from crplugins.limits.limit import NEVER
from crplugins.limits.memory import MemoryStore, unix_milliseconds
from crplugins.limits.sqlite.store import SqliteStore
from tests.limits.differential import COUNT, answers, differences, operations


@pytest.mark.parametrize(("seed", "together"), [(1, 1), (2, 50)])
async def test_thousands_of_random_operations_are_decided_in_a_file_as_in_memory(tmp_path, seed, together):
    async with SqliteStore(tmp_path / "limits.db") as store:
        assert await differences(MemoryStore(), store, operations(seed), together=together) == []


async def test_several_stores_on_one_file_decide_as_one(tmp_path):
    async with SqliteStore(tmp_path / "limits.db") as first, SqliteStore(tmp_path / "limits.db") as second:
        assert await differences(MemoryStore(), Alternating(first, second), operations(3, 4_000)) == []


async def test_a_clock_that_is_set_forward_and_back_is_followed_alike(tmp_path):
    """Neither forgets anything: their own clocks, by which they forget, stand before all moments."""
    async with SqliteStore(tmp_path / "limits.db", clock=lambda: 0) as store:
        remembering = MemoryStore(clock=lambda: 0)
        assert await differences(remembering, store, operations(6, 2_000, set_anew=True), together=20) == []


async def test_the_removal_of_expired_state_changes_no_decision():
    """One forgets by the moments it is given, for its own clock is ahead; the other by a clock that stands before them."""
    remembering, forgetting = MemoryStore(clock=lambda: 0), MemoryStore(clock=unix_milliseconds)
    made = operations(4, 8_000, start=1_000_000_000_000, steady=True)
    assert await differences(remembering, forgetting, made) == []
    assert len(forgetting) < len(remembering) / 50


async def test_random_operations_are_of_every_kind():
    told = Counter(what(operation, answer) for operation, answer in await answers(MemoryStore(), operations(1)))
    assert sum(told.values()) == COUNT
    assert min(told.values()) > COUNT / 1000  # leases expire by the clock: the slower the machine, the fewer refuse
    assert set(told) == {
        *("admitted", "refused by a meter", "refused by a window", "refused by a lease", "never"),
        *("settled", "not settled", "adjusted", "not adjusted", "renew", "levels", "seed"),
    }


async def test_the_same_seed_makes_the_same_operations():
    assert list(operations(5, 500, start=0)) == list(operations(5, 500, start=0))
    assert list(operations(5, 500, start=0)) != list(operations(6, 500, start=0))


class Alternating:
    """Two stores in turn."""

    def __init__(self, *stores):
        self.stores = stores

    def __getattr__(self, method):
        self.stores = self.stores[::-1]
        return getattr(self.stores[0], method)


def what(operation, answer):
    if operation.method in ("settle", "adjust"):
        done = {"settle": "settled", "adjust": "adjusted"}[operation.method]
        return done if answer else f"not {done}"
    if operation.method != "reserve":
        return operation.method
    if answer.refused is None:
        return "admitted"
    if answer.wait == NEVER:
        return "never"
    return f"refused by a {operation.arguments[0].charges[answer.refused].limit.kind}"
