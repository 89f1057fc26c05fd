"""Models whose price nobody knows: what is told at the start, and what happens to their requests."""

import logging
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from crplugins import BudgetMiddleware, Gateway, PluginMiddleware, UsageMiddleware
from crplugins.config import ConfigError, parse_config
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.usage import Price
from crplugins.homes.parts import Parts
from crplugins.homes.price_list import PriceList
from crplugins.metering.record import UsageRecord, cost_of_answer
from crplugins.testing import FakeProvider, Script, drive, lifespan, usage_object
from tests.plugins.limits_setup import HI, Caller, using

pytest.importorskip("litellm")

SECRET = "sk-team-a-0123456789abcdef"
HEADERS = {"authorization": f"Bearer {SECRET}"}
PRICED = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
FALLBACK = {"input_cost_per_token": 1e-5, "output_cost_per_token": 3e-5}
BUDGET = {"usd": 1, "period": "day"}


def entry(name: str, **model_info: Any) -> dict[str, Any]:
    params = {"model": f"openai/{name}", "api_base": "http://127.0.0.1:1/v1", "api_key": "sk-up"}
    return {"model_name": name, "litellm_params": params, "model_info": model_info}


def key(**policy: Any) -> dict[str, Any]:
    return {"id": "a", "secret": SECRET, **policy}


def warnings(models: list[dict[str, Any]], **words: Any) -> list[str]:
    config = parse_config({"model_list": models, **words})
    return Parts(config, PriceList(config.deployments())).unpriced_warnings()


CURE = "give the price in model_info (input_cost_per_token, output_cost_per_token)"


def test_each_model_without_a_price_is_named_with_the_budgets_that_it_concerns() -> None:
    models = [entry("known", **PRICED), entry("new-x"), entry("new-x")]
    words: dict[str, Any] = {
        "keys": [key(budget=BUDGET), {"id": "b", "secret": "sk-b", "budget": BUDGET, "models": ["known"]}],
        "budgets": {"per_team": {"t": {**BUDGET, "shadow": True}}, "per_key": BUDGET},
    }
    whose = "the budget of each key without its own, the team 't' (shadow), the key 'a'"
    assert warnings(models, **words) == [
        f"the price of 'new-x' is unknown: a request for it is refused under {whose}; {CURE}"
    ]
    words["budgets"] |= {"unknown_price": "allow", "per_user": BUDGET, "per_session": {"usd": 1}}
    whose = whose.replace("its own,", "its own, each user, each session,")
    assert warnings(models, **words) == [
        f"the price of 'new-x' is unknown: no request for it is counted under {whose}; {CURE}"
    ]


def test_without_a_budget_that_it_concerns_nothing_is_said() -> None:
    assert warnings([entry("new-x")], keys=[key()]) == []
    assert warnings([entry("known", **PRICED)], keys=[key(budget=BUDGET)]) == []
    assert warnings([entry("new-x")], keys=[key(budget=BUDGET, models=["other"])]) == []
    assert warnings([entry("new-x")], keys=[key(budget=BUDGET)], budgets={"fallback_price": FALLBACK}) == []


def test_a_wildcard_without_a_price_of_its_own_is_told_of() -> None:
    [warning] = warnings([entry("openai/*")], keys=[key(budget=BUDGET)])
    assert warning.startswith("'openai/*' has no price of its own: a request for a name that the list of prices")
    assert warnings([entry("openai/*", **PRICED)], keys=[key(budget=BUDGET)]) == []


def test_of_many_keys_a_few_are_named() -> None:
    keys = [{"id": f"k{n}", "secret": f"sk-{n}", "budget": BUDGET} for n in range(20)]
    [warning] = warnings([entry("new-x")], keys=keys)
    assert "the key 'k7' and 12 more;" in warning


def test_of_several_deployments_the_dearest_is_reserved_and_one_without_a_price_makes_it_unknown() -> None:
    def listed(*infos: dict[str, Any], **options: Any) -> PriceList:
        config = parse_config({"model_list": [entry("m-x", **info) for info in infos], **options})
        return PriceList(config.deployments(), fallback=config.budgets.fallback())

    assert listed(PRICED, FALLBACK)("m-x") == listed(FALLBACK)("m-x") == Price(10_000_000, 30_000_000)
    assert listed(PRICED, {})("m-x") is None
    priced = listed(PRICED, {}, budgets={"fallback_price": FALLBACK})
    assert priced("m-x") == priced("not listed") == Price(10_000_000, 30_000_000)
    assert (priced.serves("m-x"), priced.serves("not listed")) == (True, False)


@pytest.mark.parametrize(
    ("budgets", "problem"),
    [
        ({"unknown_price": "price"}, "budgets.fallback_price: is missing, and unknown_price: price needs it"),
        ({"unknown_price": "no"}, "budgets.unknown_price: must be one of refuse, allow, price"),
        (
            {"unknown_price": "refuse", "fallback_price": FALLBACK},
            "budgets.fallback_price: is not used with unknown_price: refuse",
        ),
        (
            {"fallback_price": {"input_cost_per_token": 1e-6}},
            "budgets.fallback_price.output_cost_per_token: is missing",
        ),
        (
            {"fallback_price": {**FALLBACK, "input_cost_per_token": -1}},
            "budgets.fallback_price.input_cost_per_token: must be at least 0",
        ),
    ],
)
def test_a_fallback_price_is_whole_and_used(budgets: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({"budgets": budgets})
    assert problem in str(error.value)


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


class Costs(Plugin):
    """Keeps what each request has cost."""

    observes = True
    known: ClassVar[list[int | None]] = []

    async def on_request(self, exchange: Exchange) -> None:
        """Is entered."""

    def on_finish(self, exchange: Exchange) -> None:
        self.known.append(cost_of_answer(exchange).micro_usd)


def gateway(
    provider: FakeProvider, handler: str, deployments: list[tuple[str, str, dict[str, Any]]], **words: Any
) -> Gateway:
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": model, "api_base": provider.base_url, "api_key": "sk-up", "max_retries": 0},
            "model_info": info,
            "handler": handler,
        }
        for name, model, info in deployments
    ]
    return Gateway(model_list=models, keys=[key(budget=BUDGET)], **words)


async def post(app: Any, model: str) -> Any:
    return await drive(app, body={"model": model, "messages": HI, "max_tokens": 5}, headers=HEADERS)


@pytest.mark.parametrize("handler", ["direct", "litellm"])
@pytest.mark.filterwarnings("ignore:::pydantic", "ignore:::litellm")
async def test_in_the_gateway_what_has_no_price_never_leaves_it(handler: str, provider: FakeProvider) -> None:
    app = gateway(
        provider,
        handler,
        [
            ("known", "openai/known-x", PRICED),
            ("new", "openai/new-x", {}),
            ("mixed", "openai/known-x", PRICED),
            ("mixed", "openai/new-x", {}),
            ("any/*", "openai/*", {}),
        ],
        aliases={"nick": "new", "split": [{"model": "new", "weight": 1}, {"model": "known", "weight": 0}]},
    )
    async with lifespan(app):
        for model in ("new", "mixed", "mixed", "any/made-up", "nick", "split"):
            refused = await post(app, model)
            assert (refused.status, refused.json()["error"]["code"]) == (400, "unknown_price"), model
        assert provider.received == 0
        assert (await post(app, "lost")).status == 404
        assert (await post(app, "known")).status == 200
        assert (await post(app, "any/gpt-4o-mini")).status == 200  # litellm's list has its price


@pytest.mark.parametrize("handler", ["direct", "litellm"])
@pytest.mark.filterwarnings("ignore:::pydantic", "ignore:::litellm")
async def test_a_fallback_price_is_in_the_record_of_whichever_deployment_has_no_price(
    handler: str, provider: FakeProvider
) -> None:
    Costs.known.clear()
    deployments = [("mixed", "openai/known-x", PRICED), ("mixed", "openai/new-x", {})]
    app = gateway(provider, handler, deployments, budgets={"fallback_price": FALLBACK}, plugins=[Costs])
    async with lifespan(app):
        for model in ("known-x", "new-x"):
            provider.script(model, Script(usage_object=usage_object(100, 10)))
        for _ in range(2):
            assert (await post(app, "mixed")).status == 200
    assert sorted(cost or 0 for cost in Costs.known) == [120, 1300]


async def test_before_an_app_of_ones_own_record_and_budget_have_the_same_fallback_price() -> None:
    records: list[UsageRecord] = []
    budgets = {"per_key": BUDGET, "fallback_price": FALLBACK}
    app = BudgetMiddleware(using(100, 10), budgets=budgets, model_list=[entry("known-x", **PRICED)])
    app = UsageMiddleware(app, budgets=budgets, model_list=[entry("known-x", **PRICED)], sinks=[records.append])
    caller = Caller("a")
    stack = PluginMiddleware(app, plugins=[caller])
    async with lifespan(stack):
        for model in ("known-x", "new-x"):
            assert (await post(stack, model)).status == 200
    assert [record.cost_micro_usd for record in records] == [120, 1300]


async def test_at_the_start_the_log_names_what_budgets_cannot_count(
    provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    app = gateway(provider, "direct", [("new", "openai/new-x", {})])
    with caplog.at_level(logging.WARNING, "crplugins.budgets"):
        async with lifespan(app):
            pass
    [record] = [record.getMessage() for record in caplog.records if record.name == "crplugins.budgets"]
    assert (
        record == f"the price of 'new' is unknown: a request for it is refused under the budget of the key 'a'; {CURE}"
    )
