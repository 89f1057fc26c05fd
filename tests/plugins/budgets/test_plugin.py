"""Budgets: money that is reserved, spent, warned of and gone."""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Budget, Limits, Principal
from crplugins.core.usage import Price, pico_usd
from crplugins.limits.limit import Decision, Reservation
from crplugins.limits.memory import MemoryStore
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.budgets.plugin import Budgets, BudgetState
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.plugins.usage import Usage
from crplugins.testing import Drive, PluginContract, lifespan
from tests.core.doubles import JSON, App, Watcher
from tests.plugins.limits_endings import ENDINGS, Ending, end
from tests.plugins.limits_setup import HI, PROMPT, Caller, Ground, ask, using

PRICE = Price(pico_usd("0.000010"), pico_usd("0.000100"))  # 10 and 100 micro-USD
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)  # a Tuesday


class Purse:
    """A caller with a budget, and the plugin."""

    def __init__(self, usd: float = 1, period: Any = "month", **options: Any) -> None:
        self.ground = Ground(time=NOW.timestamp())
        self.caller = Caller("a", budget=Budget(round(usd * 1e6), period), team="t")
        self.options = {"prices": lambda _: PRICE, "store": self.ground.reservations} | options
        self.plugin = Budgets(**self.options)

    @property
    def plugins(self) -> list[Plugin]:
        return [self.caller, self.plugin]

    async def states(self) -> list[BudgetState]:
        assert self.caller.principal is not None
        return await self.plugin.states_of(self.caller.principal)

    async def spent(self) -> int:
        return (await self.states())[0].spent


async def test_a_request_costs_what_it_cost() -> None:
    purse = Purse()
    assert (await ask(using(30, 4), purse.plugins)).status == 200
    assert await purse.spent() == 30 * 10 + 4 * 100


async def test_the_handlers_price_counts_if_it_gave_one() -> None:
    class Prices(Plugin):
        async def on_request(self, exchange: Any) -> None:
            exchange.price = Price(pico_usd("0.001"), 0)

    purse = Purse()
    await ask(using(30, 4), [*purse.plugins, Prices()])
    assert await purse.spent() == 30_000


TIERS = Price(
    PRICE.input,
    PRICE.output,
    alternatives=(("priority", Price(2 * PRICE.input, 2 * PRICE.output)), ("flex", Price(0, PRICE.output // 2))),
)


@pytest.mark.parametrize(
    ("asked", "answered", "micro_usd"),
    [("priority", "default", 700), ("default", "priority", 1400), ("flex", "flex", 200), ("auto", None, 700)],
)
async def test_what_the_answer_says_was_used_is_paid_whatever_was_asked_for(
    asked: str, answered: str | None, micro_usd: int
) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34}
    answer = {"id": "c", "model": "m", "choices": [], "usage": usage, "service_tier": answered}
    purse = Purse(prices=lambda _: TIERS)
    assert (
        await ask(App(json.dumps(answer).encode(), content_type=JSON), purse.plugins, service_tier=asked)
    ).status == 200
    assert await purse.spent() == micro_usd


@pytest.mark.parametrize(("tier", "passes"), [("default", True), ("flex", True), ("priority", False), (7, True)])
async def test_a_request_reserves_what_the_tier_costs_that_it_asks_for(tier: Any, passes: bool) -> None:
    purse = Purse(0.0005 + PROMPT * 10e-6, prices=lambda _: TIERS)
    answered = await ask(using(1, 1), purse.plugins, max_tokens=5, service_tier=tier)
    assert answered.status == (200 if passes else 429)


FAST = Price(PRICE.input, PRICE.output, factors=(("fast", 6000), ("us", 1100)))


SPEECH = [
    {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A" * 64_000, "format": "mp3"}}]}
]


@pytest.mark.parametrize(
    ("price", "asked", "least"),
    [
        (FAST, {"speed": "fast"}, 6 * 500),
        (Price(PRICE.input, PRICE.output, audio_output=8 * PRICE.output), {"modalities": ["text", "audio"]}, 8 * 500),
        (Price(PRICE.input, PRICE.output, audio_input=50 * PRICE.input), {"messages": SPEECH}, 50 * 10 * 60),
    ],
)
async def test_a_request_reserves_what_it_asks_for_at_many_times_the_price(
    price: Price, asked: dict[str, Any], least: int
) -> None:
    usual = {name: ["text"] for name in asked if name == "modalities"}
    for usd, status, wanted in (
        (0.0019, 200, usual),
        (least / 1e6 - 1e-6, 429, asked),
        (least / 1e6 + 0.002, 200, asked),
    ):
        purse = Purse(usd, prices=lambda _: price)
        assert (await ask(using(1, 1), purse.plugins, max_tokens=5, **wanted)).status == status


async def test_a_providers_own_bill_is_paid_where_no_price_is_known() -> None:
    answer = {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 4, "cost": 0.25}}
    purse = Purse(prices=None, unknown_price="allow")
    await ask(App(json.dumps(answer).encode(), content_type=JSON), purse.plugins)
    assert await purse.spent() == 250_000


async def test_a_spent_budget_is_openais_quota_which_no_sdk_tries_again() -> None:
    purse, watcher = Purse(0.001), Watcher()
    await ask(using(100, 0), purse.plugins, max_tokens=1)
    refused = await ask(App(), [watcher, *purse.plugins], max_tokens=1)
    assert refused.json()["error"] == {
        "message": "You exceeded your current quota, please check your plan and billing details. For more information "
        "on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }
    assert (refused.status, refused.headers["x-should-retry"]) == (429, "false")
    assert "retry-after" not in refused.headers
    assert (watcher.exchange.error_type, watcher.exchange.outcome) == ("budget_exceeded", "limited")


async def test_requests_at_the_same_time_cannot_spend_the_same_money() -> None:
    """litellm#26672, #34732."""
    purse, gate = Purse(0.0053), asyncio.Event()
    cost = PROMPT * 10 + 10 * 100  # 1120, of which 4 fit
    stack = PluginMiddleware(App(gate=gate), plugins=purse.plugins)
    body = {"model": "m", "messages": HI, "stream": True, "max_tokens": 10}
    async with lifespan(stack):
        calls = [Drive(stack, body=body) for _ in range(10)]
        for call in calls:
            await call.__aenter__()
            await call.next_message()
        assert await purse.spent() == 4 * cost
        gate.set()
        answers = [await call.finish() for call in calls]
    assert sorted(answer.status for answer in answers) == [200] * 4 + [429] * 6
    assert await purse.spent() == 4 * (PROMPT * 10 + 100)


async def test_only_our_guess_makes_a_request_take_the_whole_budget_and_not_more() -> None:
    purse = Purse(0.001)
    assert (await ask(using(1, 1), purse.plugins)).status == 200
    assert (await ask(using(1, 1), purse.plugins)).status == 429
    assert (await ask(using(1, 1), purse.plugins, max_tokens=1)).status == 200


async def test_a_request_that_may_cost_more_than_the_budget_is_refused() -> None:
    assert (await ask(App(), Purse(0.001).plugins, max_tokens=10)).status == 429


@pytest.mark.parametrize("prices", [None, lambda _: None])
async def test_an_unknown_price_that_is_allowed_costs_nothing_and_is_refused_when_nothing_remains(prices: Any) -> None:
    purse = Purse(0.001, prices=prices, unknown_price="allow")
    assert (await ask(using(10**6, 10**6), purse.plugins)).status == 200
    assert await purse.spent() == 0
    priced = Budgets(prices=lambda _: PRICE, store=purse.ground.reservations)
    assert (await ask(using(100, 0), [purse.caller, priced], max_tokens=1)).status == 200
    assert (await ask(App(), purse.plugins)).status == 429


async def test_a_budget_of_nothing_lets_nothing_through() -> None:
    assert (await ask(App(), Purse(0).plugins)).status == 429


async def test_keys_of_a_team_share_its_budget() -> None:
    ground = Ground(time=NOW.timestamp())
    plugin = Budgets(per_team={"t": Budget(1000, "month")}, prices=lambda _: PRICE, store=ground.reservations)
    mine, yours, others = (Caller(key, team=team) for key, team in (("a", "t"), ("b", "t"), ("c", "x")))
    assert (await ask(using(100, 0), [mine, plugin], max_tokens=1)).status == 200
    assert (await ask(App(), [yours, plugin], max_tokens=1)).status == 429
    assert (await ask(App(), [others, plugin], max_tokens=1)).status == 200


async def test_each_key_without_a_budget_of_its_own_has_the_default() -> None:
    ground = Ground(time=NOW.timestamp())
    plugin = Budgets(Budget(1000, "month"), prices=lambda _: PRICE, store=ground.reservations)
    own = Caller("own", budget=Budget(10**6, "month"))
    for caller, statuses in ((Caller("a"), [200, 429]), (Caller("b"), [200, 429]), (own, [200, 200])):
        assert [(await ask(using(100, 0), [caller, plugin], max_tokens=1)).status for _ in range(2)] == statuses


async def test_without_a_key_there_is_no_budget() -> None:
    assert (await ask(App(), [Budgets(Budget(0, "day"))])).status == 200


async def test_the_next_period_begins_with_nothing_spent() -> None:
    purse = Purse(0.001, "day")
    await ask(using(100, 0), purse.plugins, max_tokens=1)
    purse.ground.clock.advance(11.9 * 3600)
    assert (await ask(using(90, 0), purse.plugins, max_tokens=1)).status == 429
    purse.ground.clock.advance(0.2 * 3600)
    assert (await ask(using(90, 0), purse.plugins, max_tokens=1)).status == 200
    assert await purse.spent() == 900


async def test_a_request_over_midnight_is_paid_on_the_day_it_began() -> None:
    purse, gate = Purse(1, "day"), asyncio.Event()
    purse.ground.clock.set_time(datetime(2026, 11, 24, 23, 59, 50, tzinfo=UTC).timestamp())
    stack = PluginMiddleware(App(gate=gate), plugins=purse.plugins)
    async with lifespan(stack), Drive(stack, body={"model": "m", "messages": HI, "stream": True}) as call:
        await call.next_body()
        purse.ground.clock.advance(20)
        gate.set()
        await call.finish()
    assert await purse.spent() == 0
    purse.ground.clock.set_time(datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC).timestamp())
    purse.plugin = Budgets(**purse.options)  # which does not know of tomorrow
    assert await purse.spent() == PROMPT * 10 + 100


async def test_a_changed_budget_holds_at_once_for_what_is_spent_already() -> None:
    purse = Purse(0.001)
    await ask(using(100, 0), purse.plugins, max_tokens=1)
    purse.caller.principal = Principal("a", budget=Budget(2000, "month"))
    assert (await ask(using(50, 0), purse.plugins, max_tokens=1)).status == 200
    assert await purse.spent() == 1500


async def test_a_budget_is_warned_of_once_in_its_period(caplog: pytest.LogCaptureFixture) -> None:
    purse = Purse(10, "day")
    with caplog.at_level(logging.WARNING, "crplugins.budgets"):
        await ask(using(790_000, 0), purse.plugins)
        assert [state.warned for state in await purse.states()] == [False]
        for _ in range(3):
            await ask(using(10_000, 0), purse.plugins)
        assert [state.warned for state in await purse.states()] == [True]
        assert [record.getMessage() for record in caplog.records] == ["key a has spent 8.00 of 10.00 USD of this day"]
        purse.ground.clock.advance(86_400)
        await ask(using(900_000, 0), purse.plugins)
        await ask(using(1, 0), purse.plugins)
    assert len(caplog.records) == 2


async def test_states_are_read_for_a_key_and_its_team() -> None:
    purse = Purse(1, "week")
    purse.plugin = Budgets(None, {"t": Budget(5_000_000, "total")}, **purse.options)
    await ask(using(100, 0), purse.plugins)
    assert await purse.states() == [
        BudgetState("key", "a", "week", 1000, 1_000_000, datetime(2026, 11, 30, tzinfo=UTC), False),
        BudgetState("team", "t", "total", 1000, 5_000_000, None, False),
    ]
    configured = Principal("new", budget=Budget(7, "day"), team="t")
    assert [(s.owner, s.spent) for s in await purse.plugin.states([configured])] == [
        ("new", 0),
        ("t", 1000),
        ("a", 1000),
    ]


async def test_a_budget_refused_takes_nothing_of_the_limits_further_out() -> None:
    purse = Purse(0)
    limits = RateLimits(
        LimitRules(per_key=Limits(requests_per_minute=5, tokens_per_day=10_000)), store=purse.ground.reservations
    )
    refused = await ask(App(), [purse.caller, limits, purse.plugin])
    assert (refused.status, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert refused.headers["x-ratelimit-remaining-requests"] == "5"
    assert [level.used for level in await limits.levels_of(purse.caller.principal)] == [0, 0]  # type: ignore[arg-type]


class Down(MemoryStore):
    async def reserve(self, reservation: Reservation, **options: Any) -> Decision:
        raise StoreUnavailable("no")


async def test_a_store_that_is_down_is_an_overload_when_nothing_may_pass_without_it() -> None:
    answer = await ask(App(), Purse(store=Down()).plugins)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")


async def test_what_is_settled_is_what_the_usage_record_says() -> None:
    records: list[Any] = []
    purse = Purse()
    await ask(using(1234, 56), [purse.caller, Usage(sinks=[records.append], prices=lambda _: PRICE), purse.plugin])
    assert await purse.spent() == records[0].cost_micro_usd == 1234 * 10 + 56 * 100


@settings(deadline=None)
@given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=8))
def test_what_is_reserved_is_settled_whatever_happens_at_once(endings: Sequence[Ending]) -> None:
    async def run() -> None:
        purse = Purse(10**6)
        limits = RateLimits(store=purse.ground.reservations)
        await asyncio.gather(*(end(ending, [purse.caller, limits, purse.plugin]) for ending in endings))
        expected = sum((tokens - output) * 10 + output * 100 for _, tokens, output in (e.took for e in endings))
        assert await purse.spent() == expected
        assert purse.ground.store.held == set()

    asyncio.run(run())


class TestBudgets(PluginContract):
    def make_plugin(self) -> Plugin:
        async def spent(scope: str, owner: str, since: datetime) -> int:
            return 0

        return Budgets(prices=lambda _: PRICE, spent=spent)


class TestBudgetsThatAreSpent(PluginContract):
    def make_plugin(self) -> Plugin:
        class Rich(Budgets):
            async def on_request(self, exchange: Any) -> None:
                exchange.principal = Principal("a", budget=Budget(10**9, "day"))
                await super().on_request(exchange)

        return Rich(prices=lambda _: PRICE)

    def refused_request(self) -> dict[str, Any]:
        return {"body": {"model": "m", "messages": HI, "max_tokens": 10**9}}
