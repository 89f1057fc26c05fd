"""Budgets and models that nobody has a price for, or that cost nothing."""

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.off_peak import OffPeak
from crplugins.core.plugin import Plugin
from crplugins.core.usage import Price, pico_usd
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.budgets.costs import is_free
from crplugins.plugins.budgets.plugin import Budgets
from crplugins.testing import Drive, lifespan
from tests.core.doubles import JSON, App, Watcher
from tests.plugins.budgets.test_plugin import Purse
from tests.plugins.limits_setup import HI, Caller, ask, send, using

DEAR = Price(pico_usd("0.000010"), pico_usd("0.000100"))
FREE = Price(0, 0)
LIST = {"dear": DEAR, "free": FREE}


def purse(usd: float = 1, **options: Any) -> Purse:
    return Purse(usd, prices=LIST.get, **options)


async def test_a_model_without_a_price_is_refused_with_a_400_that_says_where_the_price_goes() -> None:
    watcher = Watcher()
    refused = await ask(App(), [watcher, *purse().plugins], model="brand-new")
    assert refused.status == 400
    error = refused.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "model", "unknown_price")
    assert "`brand-new`" in error["message"]
    assert "`model_info`" in error["message"]
    assert (watcher.exchange.error_type, watcher.exchange.outcome) == ("invalid_request", "client_error")


async def test_a_client_is_told_its_own_name_for_the_model_and_the_log_has_the_served_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caller, budgets = purse().plugins
    plugins = [caller, ModelAliases(aliases={"nick*": "brand-new"}), budgets]
    for name in ("nick-1", "nick-2", "nick-1"):
        message = (await ask(App(), plugins, model=name)).json()["error"]["message"]
        assert f"`{name}`" in message
        assert "brand-new" not in message
    [line] = [record.getMessage() for record in caplog.records if record.name == "crplugins.budgets"]
    assert "'brand-new'" in line
    assert "model_info" in line


async def test_only_requests_that_a_budget_applies_to_are_refused() -> None:
    plugin = Budgets(prices=LIST.get)
    assert (await ask(using(1, 1), [Caller("a"), plugin], model="brand-new")).status == 200
    assert (await ask(using(1, 1), [plugin], model="brand-new")).status == 200


async def test_a_model_that_nobody_serves_is_left_to_the_app_to_refuse() -> None:
    lost = App(b'{"error":{"message":"no such model"}}', status=404, content_type=JSON)
    known = {"served"}.__contains__
    assert (await ask(lost, purse(serves=known).plugins, model="lost")).status == 404
    assert (await ask(lost, purse(serves=known).plugins, model="served")).status == 400


async def test_a_request_without_a_model_has_the_price_of_no_name() -> None:
    body = {"messages": HI}
    refused = await send(body, App(), purse().plugins)
    assert (refused.status, refused.json()["error"]["message"]) == (400, "you must provide a model parameter")
    everything = Purse(prices=lambda _: DEAR)
    assert (await send(body, using(1, 1), everything.plugins)).status == 200


async def test_where_an_unknown_price_is_allowed_the_providers_own_bill_is_counted() -> None:
    class Bill(Plugin):
        async def on_request(self, exchange: Exchange) -> None:
            exchange.provider_cost_micro_usd = 77

    allowing = purse(unknown_price="allow")
    assert (await ask(using(1, 1), [*allowing.plugins, Bill()], model="brand-new")).status == 200
    assert await allowing.spent() == 77


async def test_a_free_model_is_answered_when_the_budget_is_spent() -> None:
    spent = purse(0.001)
    assert (await ask(using(100, 0), spent.plugins, model="dear", max_tokens=1)).status == 200
    assert (await ask(App(), spent.plugins, model="dear", max_tokens=1)).status == 429
    assert (await ask(using(10**6, 10**6), spent.plugins, model="free")).status == 200
    assert await spent.spent() == 1000
    assert (await ask(using(5, 5), purse(0).plugins, model="free")).status == 200


async def test_a_free_model_is_answered_while_others_have_reserved_the_whole_budget() -> None:
    full, gate = purse(0.001), asyncio.Event()
    stack = PluginMiddleware(App(gate=gate), plugins=full.plugins)
    async with lifespan(stack), Drive(stack, body={"model": "dear", "messages": HI, "stream": True}) as call:
        await call.next_message()
        assert await full.spent() == 1000
        assert (await ask(using(9, 9), full.plugins, model="free")).status == 200
        assert (await ask(App(), full.plugins, model="dear", max_tokens=1)).status == 429
        gate.set()
        await call.finish()


async def test_a_free_model_that_a_dear_one_stands_in_for_costs_what_that_one_costs() -> None:
    class Fallback(Plugin):
        async def on_request(self, exchange: Exchange) -> None:
            exchange.price = DEAR

    spent = purse(0.001)
    assert (await ask(using(200, 0), [*spent.plugins, Fallback()], model="free")).status == 200
    assert await spent.spent() == 2000


async def test_a_model_whose_output_alone_costs_is_not_free() -> None:
    spent = Purse(0.001, prices={"dear": DEAR, "half": Price(0, 1)}.get)
    assert (await ask(using(100, 0), spent.plugins, model="dear", max_tokens=1)).status == 200
    assert (await ask(App(), spent.plugins, model="half", max_tokens=1)).status == 429


NO_AMOUNTS = {"factors": (("eu", 1100),), "off_peak": OffPeak(()), "searches_together": True, "source": "table"}
FURTHER = {"above": ((1000, Price(0, 1)),), "alternatives": (("priority", Price(1, 0)),)}


@pytest.mark.parametrize("field", Price.__struct_fields__)
def test_a_price_of_any_kind_of_token_or_fee_is_a_price(field: str) -> None:
    free = msgspec.structs.replace(FREE, cached_input=0, above=((1000, FREE),), **NO_AMOUNTS)
    assert is_free(free)
    if field not in NO_AMOUNTS:
        assert not is_free(msgspec.structs.replace(free, **{field: FURTHER.get(field, 1)}))


async def test_warnings_are_logged_once_what_opens_further_out_is_open(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "crplugins.budgets"):
        async with Budgets(warnings=lambda: ["the price of 'm' is unknown"]):
            pass
    assert [record.getMessage() for record in caplog.records] == ["the price of 'm' is unknown"]
