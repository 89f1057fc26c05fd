"""Budgets learn from the ledger what was spent before, and what their store has lost."""

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.principal import Budget, Principal
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.budgets import seeding as budgets_seeding
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.plugins.budgets.windows import Scope
from crplugins.testing import FrozenClock, drive, lifespan
from tests.core.doubles import App
from tests.plugins.limits_setup import HI, Caller, Ground, ask, using

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
    """A caller with a budget and the plugin, open as in a server."""

    def __init__(self, books: Books, store: MemoryStore | None = None) -> None:
        self.ground = Ground(time=NOW.timestamp())
        self.clock = FrozenClock()
        options: dict[str, Any] = {
            "unknown_price": "allow",
            "spent": books,
            "clock": self.clock,
            "store": self.ground.reservations if store is None else store,
        }
        self.plugin = Budgets(None, {"t": Budget(10_000, "week")}, **options)
        self.principal = Principal("a", budget=Budget(1000, "month"), team="t")
        caller = Caller()
        caller.principal = self.principal
        self._app = PluginMiddleware(using(1, 1), plugins=[caller, self.plugin])
        self._open = AsyncExitStack()

    async def status(self) -> int:
        return (await drive(self._app, body={"model": "m", "messages": HI})).status

    async def spent(self) -> list[int]:
        return [state.spent for state in await self.plugin.states_of(self.principal)]

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(lifespan(self._app))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()


async def test_what_was_spent_before_a_restart_is_known_before_the_first_request() -> None:
    books = Books(a=1000, t=5000)
    async with Purse(books) as purse:
        assert await purse.status() == 429
    assert books.questions == [
        ("key", "a", datetime(2026, 11, 1, tzinfo=UTC)),
        ("team", "t", datetime(2026, 11, 23, tzinfo=UTC)),
    ]


async def test_what_the_store_knows_better_stays() -> None:
    async with Purse(books := Books(a=50)) as purse:
        assert await purse.spent() == [50, 0]
        books.spent["a"] = 5
        purse.clock.advance(60)
        await purse.spent()
        await asyncio.sleep(0)
        assert await purse.spent() == [50, 0]


async def test_the_ledger_is_asked_once_for_many_requests_at_once_and_again_after_a_while() -> None:
    books = Books()
    async with Purse(books) as purse:
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
    async with Purse(books) as purse:
        await purse.status()
        books.spent = {"a": 1000, "t": 10}
        purse.clock.advance(60)
        books.open.clear()
        assert await purse.status() == 200
        books.open.set()
        await asyncio.sleep(0.01)
        assert await purse.status() == 429


async def test_a_ledger_that_fails_stops_no_request_and_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    books = Books(a=1000)
    books.error = OSError("no such table")
    async with Purse(books) as purse:
        with caplog.at_level(logging.WARNING, "crplugins.budgets"):
            assert await purse.status() == 200
        assert "the spending of key a could not be read from the ledger: OSError('no such table')" in caplog.text
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
    async with Purse(books) as purse:
        assert [await purse.status(), await purse.status()] == [200, 200]
        assert len(books.questions) == 2


class Down(MemoryStore):
    async def seed(self, limit: Any, used: int) -> None:
        raise StoreUnavailable("no")


async def test_a_store_that_is_down_is_seeded_later() -> None:
    async with Purse(Books(a=1000), Down()) as purse:
        assert await purse.status() == 200
        assert purse.plugin._seeding is not None
        assert purse.plugin._seeding.failures == 2


async def test_levels_of_an_unused_key_come_from_the_ledger() -> None:
    plugin = Budgets(Budget(10_000, "month"), unknown_price="allow", spent=Books(new=77))
    assert [state.spent for state in await plugin.states([Principal("new")])] == [77]
    assert (await ask(App(), [plugin])).status == 200
