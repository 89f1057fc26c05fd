"""However a request ends, what it reserved is given back or replaced by what it took."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.principal import Limits
from crplugins.limits import reservations as limit_reservations
from crplugins.limits.limit import Decision, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.outage import GuardedStore
from crplugins.limits.reservations import Reservations
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.testing import Drive, drive, lifespan
from tests.core.doubles import App
from tests.plugins.limits_endings import ENDINGS, NOTHING, Ending, end, turns
from tests.plugins.limits_setup import HI, Caller, Ground, Watched, ask, using

LIMITS = Limits(
    requests_per_day=10**6, tokens_per_day=10**9, output_tokens_per_day=10**9, tokens_per_hour=10**9,
    max_parallel_requests=100,
)  # fmt: skip


async def taken(ground: Ground, plugin: RateLimits, caller: Caller) -> tuple[int, int, int]:
    assert caller.principal is not None
    levels = {level.limit: level.used for level in await plugin.levels_of(caller.principal)}
    assert levels["tokens_per_day"] == levels["tokens_per_hour"]
    assert levels["max_parallel_requests"] == 0
    return levels["requests_per_day"], levels["tokens_per_day"], levels["output_tokens_per_day"]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
async def test_a_request_has_taken_what_it_took(ending: Ending) -> None:
    ground = Ground()
    plugin, caller = RateLimits(store=ground.reservations), Caller(limits=LIMITS)
    await end(ending, [caller, plugin])
    assert await taken(ground, plugin, caller) == ending.took
    assert ground.store.held == set()


@settings(deadline=None)
@given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=12))
def test_what_is_reserved_is_settled_whatever_happens_at_once(endings: list[Ending]) -> None:
    async def run() -> None:
        ground = Ground()
        plugin, caller = RateLimits(store=ground.reservations), Caller(limits=LIMITS)
        await asyncio.gather(*(end(ending, [caller, plugin]) for ending in endings))
        expected = tuple(map(sum, zip(*(ending.took for ending in endings), strict=True)))
        assert await taken(ground, plugin, caller) == expected
        assert ground.store.held == set()

    asyncio.run(run())


class Remote(Watched):
    """A store that has to be waited for. Fails as often as it is told to."""

    settle_now = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.fails = 0
        self.reserved = asyncio.Event()
        self.renewed: list[str] = []
        self.entered = 0

    async def reserve(self, reservation: Reservation, **options: Any) -> Decision:
        decision = await super().reserve(reservation, **options)
        self.reserved.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return decision

    async def settle(self, reservation: Reservation, costs: Sequence[int], **options: Any) -> bool:
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("no")
        return Watched.settle_now(self, reservation, costs, **options)

    async def renew(self, reservations: Sequence[Reservation], **options: Any) -> None:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("no")
        self.renewed += [reservation.id for reservation in reservations]

    async def __aenter__(self) -> "Remote":
        self.entered += 1
        return self


@settings(deadline=None)
@given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=6))
def test_nothing_is_lost_in_a_store_that_has_to_be_waited_for(endings: list[Ending]) -> None:
    async def run() -> None:
        ground = Ground(Remote())
        plugin, caller = RateLimits(store=ground.reservations), Caller(limits=LIMITS)
        async with plugin:
            await asyncio.gather(*(end(ending, [caller, plugin]) for ending in endings))
        assert await taken(ground, plugin, caller) == tuple(map(sum, zip(*(e.took for e in endings), strict=True)))
        assert ground.store.held == set()

    asyncio.run(run())


async def test_a_request_cancelled_while_it_reserves_takes_nothing() -> None:
    ground = Ground(store := Remote())
    plugin, caller = RateLimits(store=ground.reservations), Caller(limits=LIMITS)
    stack = PluginMiddleware(App(), plugins=[caller, plugin])
    async with lifespan(stack), Drive(stack, body={"model": "m", "messages": HI}) as call:
        await store.reserved.wait()
        call.cancel()
        await asyncio.gather(call.task, return_exceptions=True)
    assert await taken(ground, plugin, caller) == NOTHING
    assert ground.store.held == set()


async def test_a_settlement_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_reservations, "PAUSES", (0.0, 0.0))
    store = Remote()
    plugin = RateLimits(store=store)
    app = PluginMiddleware(App(), plugins=[Caller(limits=LIMITS), plugin])
    async with lifespan(app):
        store.fails = 2
        await drive(app, body={"model": "m", "messages": HI})
    assert (plugin.reservations.unsettled, store.held) == (0, set())


async def test_a_settlement_that_cannot_be_made_is_counted_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limit_reservations, "PAUSES", (0.0, 0.0))
    store = Remote()
    plugin = RateLimits(store=store)
    with caplog.at_level(logging.WARNING, "crplugins.limits"):
        app = PluginMiddleware(App(), plugins=[Caller(limits=LIMITS), plugin])
        async with lifespan(app):
            store.fails = 3
            await drive(app, body={"model": "m", "messages": HI})
    assert plugin.reservations.unsettled == 1
    assert "was not settled: no" in caplog.text


class Down(MemoryStore):
    async def reserve(self, reservation: Reservation, **options: Any) -> Decision:
        raise StoreUnavailable("no")


async def test_a_store_that_is_down_is_an_overload_when_nothing_may_pass_without_it() -> None:
    caller = Caller(limits=LIMITS)
    answer = await ask(App(), [caller, RateLimits(store=Down())])
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["error"] == {
        "message": "Rate limits cannot be checked at the moment. Please retry your request.",
        "type": "server_error", "param": None, "code": None,
    }  # fmt: skip
    assert (caller.exchanges[0].error_type, caller.exchanges[0].outcome) == ("overloaded", "server_error")


@pytest.mark.parametrize(("policy", "status"), [("local", 200), ("open", 200), ("closed", 503)])
async def test_a_guarded_store_that_is_down_is_dealt_with_as_configured(policy: Any, status: int) -> None:
    limits = RateLimits(store=GuardedStore(Down(), on_store_error=policy))
    assert (await ask(App(), [Caller(limits=LIMITS), limits])).status == status


async def test_several_of_them_in_one_store_each_settle_their_own() -> None:
    ground = Ground()
    by_address = RateLimits(LimitRules(per_client_address=LIMITS), store=ground.reservations)
    plugin, caller = RateLimits(store=ground.reservations), Caller(limits=LIMITS)
    await ask(using(30, 4), [by_address, caller, plugin])
    assert await taken(ground, plugin, caller) == (1, 34, 4)
    assert ground.store.held == set()


async def test_a_store_is_opened_once_for_all_who_share_it() -> None:
    reservations = Reservations(store := Remote())
    app = PluginMiddleware(App(), plugins=[RateLimits(store=reservations), RateLimits(store=reservations)])
    async with lifespan(app):
        assert store.entered == 1


async def test_reservations_of_running_requests_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "sleep", lambda _seconds, sleep=asyncio.sleep: sleep(0))  # a lease passes in no time
    store, gate = Remote(), asyncio.Event()
    app = PluginMiddleware(App(gate=gate), plugins=[Caller(limits=LIMITS), RateLimits(store=store)])
    async with lifespan(app), Drive(app, body={"model": "m", "messages": HI, "stream": True}) as call:
        await call.next_body()
        await turns()
        assert store.held == set(store.renewed) != set()
        gate.set()
        await call.finish()
        await turns()
        store.renewed.clear()
        await turns()
        assert store.renewed == []
