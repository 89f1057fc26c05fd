"""An answer from a cache: recorded as such, free, a request to limits and no tokens; whoever says so."""

import json
from typing import Any

import pytest

from crplugins import Budgets, MissingUsage, Plugin, PluginMiddleware, RateLimits, Reply, Usage, UsageRecord
from crplugins.core.exchange import Exchange
from crplugins.core.principal import Budget, Limits, Principal
from crplugins.core.usage import Price, TokenUsage
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.testing import drive, lifespan
from tests.core.doubles import JSON, App

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
KEPT = json.dumps(
    {
        "choices": [{"index": 0, "message": {"content": "as before"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 70, "cost": 0.25},
    }
).encode()
SILENT = json.dumps({"choices": [{"index": 0, "message": {"content": "as before"}, "finish_reason": "stop"}]}).encode()
HALF = json.dumps({"choices": [], "usage": {"completion_tokens": 70}}).encode()


class Key(Plugin):
    def __init__(self, **policy: Any) -> None:
        self.principal = Principal("k", **policy)

    async def on_request(self, exchange: Exchange) -> None:
        exchange.principal = self.principal


class OwnCache(Plugin):
    def __init__(self, document: bytes) -> None:
        self._document = document

    async def on_request(self, exchange: Exchange) -> None:
        exchange.from_cache = True
        exchange.reply = Reply(200, [(b"content-type", b"application/json")], self._document)


class SaysHit(Plugin):
    """For an app that has the cache itself, and says so in a header."""

    def on_response(self, exchange: Exchange) -> None:
        exchange.from_cache = True


async def record_of(app: Any, *plugins: Plugin, policy: Any = "estimate", key: Plugin | None = None) -> UsageRecord:
    records: list[UsageRecord] = []
    outer = [key or Key(), Usage(sinks=[records.append], prices=lambda _: Price(1_000_000, 1_000_000))]
    await drive(PluginMiddleware(app, plugins=[*outer, *plugins, MissingUsage(policy)]), body=ASK)
    [record] = records
    return record


@pytest.mark.parametrize("policy", ["estimate", "refuse", "free"])
@pytest.mark.parametrize(
    ("document", "usage"), [(KEPT, TokenUsage(400, 70)), (SILENT, TokenUsage()), (HALF, TokenUsage(0, 70))]
)
async def test_a_plugins_own_cache_is_recorded_as_such_and_costs_nothing(
    policy: Any, document: bytes, usage: TokenUsage
) -> None:
    record = await record_of(App(b"{}", content_type=JSON), OwnCache(document), policy=policy)
    assert (record.usage_source, record.usage, record.cost_micro_usd) == ("cache", usage, 0)
    assert (record.status, record.outcome, record.provider_cost_micro_usd) == (200, "ok", None)


@pytest.mark.parametrize("document", [KEPT, SILENT])
async def test_so_is_that_of_an_app_which_says_so_in_a_header(document: bytes) -> None:
    record = await record_of(App(document, content_type=JSON), SaysHit())
    assert (record.usage_source, record.cost_micro_usd) == ("cache", 0)


async def test_without_the_word_the_same_answer_is_paid_for() -> None:
    record = await record_of(App(KEPT, content_type=JSON))
    assert (record.usage_source, record.cost_micro_usd) == ("provider", 470)


@pytest.mark.parametrize(
    ("app", "inner"), [(App(b"{}", content_type=JSON), OwnCache(KEPT)), (App(KEPT, content_type=JSON), SaysHit())]
)
async def test_limits_count_the_request_and_no_tokens_and_budgets_no_money(app: Any, inner: Plugin) -> None:
    key = Key(limits=Limits(requests_per_day=10, tokens_per_day=10_000), budget=Budget(1_000_000, "day"))
    limits, budgets = RateLimits(LimitRules()), Budgets(prices=lambda _: Price(1_000_000_000, 1_000_000_000))
    plugins = PluginMiddleware(app, plugins=[key, limits, budgets, inner])
    async with lifespan(plugins):
        for _ in range(3):
            assert (await drive(plugins, body=ASK)).status == 200
        used = {level.limit: level.used for level in await limits.levels_of(key.principal)}
        assert used["requests_per_day"] in (2, 3)  # it drains
        assert used["tokens_per_day"] == 0
        assert [state.spent for state in await budgets.states_of(key.principal)] == [0]
