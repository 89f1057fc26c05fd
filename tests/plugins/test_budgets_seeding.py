"""Budgets learn from the ledger what was spent before, and what their store has lost."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from crplugins.core.principal import Budget, Principal
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins import budgets_seeding
from crplugins.plugins.budgets import Budgets
from crplugins.plugins.budgets_windows import Scope
from crplugins.testing import FrozenClock
from tests.core.doubles import App
from tests.plugins.limits_setup import Caller, Ground, ask, using

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Books:
    """A ledger: what each key and team has spent."""

    def __init__(self, **spent: int) -> None:
        self.spent = spent
        self.questions: list[tuple[Scope, str, datetime]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, owner: str, since: datetime) -> int:
        self.questions.append((scope, owner, since))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.spent.get(owner, 0)


class Purse:
    def __init__(self, books: Books, store: MemoryStore | None = None) -> None:
        self.ground = Ground(time=NOW.timestamp())
        self.clock = FrozenClock()
        options: dict[str, Any] = {"spent": books, "clock": self.clock, "store": store or self.ground.reservations}
        self.plugin = Budgets(None, {"t": Budget(10_000, "week")}, **options)
        self.caller = Caller("a", budget=Budget(1000, "month"), team="t")

    async def status(self) -> int:
        return (await ask(using(1, 1), [self.caller, self.plugin])).status

    async def spent(self) -> list[int]:
        return [state.spent for state in await self.plugin.states_of(self.caller.principal or Principal("a"))]


async def test_what_was_spent_before_a_restart_is_known_before_the_first_request() -> None:
    books = Books(a=1000, t=5000)
    assert await Purse(books).status() == 429
    assert books.questions == [
        ("key", "a", datetime(2026, 11, 1, tzinfo=UTC)),
        ("team", "t", datetime(2026, 11, 23, tzinfo=UTC)),
    ]


async def test_what_the_store_knows_better_stays() -> None:
    purse = Purse(Books(a=10))
    assert await purse.spent() == [10, 0]
    purse = Purse(books := Books(a=10))
    books.spent["a"] = 5
    await purse.spent()
    await purse.ground.store.seed((await _windows(purse))[0].limit, 50)
    assert await purse.spent() == [50, 0]


async def _windows(purse: Purse) -> Any:
    assert purse.caller.principal is not None
    return purse.plugin._windows.of(purse.caller.principal, purse.ground.reservations.now())


async def test_the_ledger_is_asked_once_for_many_requests_at_once_and_again_after_a_while() -> None:
    books = Books()
    purse = Purse(books)
    books.open.clear()
    requests = [asyncio.ensure_future(purse.status()) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert not any(request.done() for request in requests)
    books.open.set()
    assert await asyncio.gather(*requests) == [200] * 5
    assert len(books.questions) == 2
    purse.clock.advance(59)
    await purse.status()
    assert len(books.questions) == 2
    purse.clock.advance(1)
    await purse.status()
    await asyncio.sleep(0)
    assert len(books.questions) == 4


async def test_a_store_that_has_lost_everything_is_right_again_without_a_request_waiting() -> None:
    books = Books(a=10, t=10)
    purse = Purse(books)
    await purse.status()
    books.spent = {"a": 1000, "t": 10}
    purse.clock.advance(60)
    books.open.clear()
    assert await purse.status() == 200
    books.open.set()
    await asyncio.sleep(0.01)
    assert await purse.status() == 429


async def test_a_ledger_that_fails_stops_nobody_and_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    books = Books(a=1000)
    books.error = OSError("no such table")
    purse = Purse(books)
    with caplog.at_level(logging.WARNING, "crplugins.budgets"):
        assert await purse.status() == 200
    assert "what key a has spent could not be looked up: OSError('no such table')" in caplog.text
    books.error = None
    purse.clock.advance(60)
    await purse.status()
    await asyncio.sleep(0)
    assert await purse.status() == 429


async def test_a_ledger_that_does_not_answer_is_waited_for_once_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgets_seeding, "PATIENCE_SECONDS", 0.01)
    books = Books(a=1000)
    books.open.clear()
    purse = Purse(books)
    async with purse.plugin:
        assert [await purse.status(), await purse.status()] == [200, 200]
    assert len(books.questions) == 2


class Down(MemoryStore):
    async def seed(self, limit: Any, used: int) -> None:
        raise StoreUnavailable("no")


async def test_a_store_that_is_down_is_seeded_later() -> None:
    purse = Purse(Books(a=1000), Down())
    assert await purse.status() == 200
    assert purse.plugin._seeding is not None
    assert purse.plugin._seeding.failures == 2


async def test_levels_of_a_key_nobody_has_used_yet_come_from_the_ledger() -> None:
    plugin = Budgets(Budget(10_000, "month"), spent=Books(new=77))
    assert [state.spent for state in await plugin.states([Principal("new")])] == [77]
    assert (await ask(App(), [plugin])).status == 200
