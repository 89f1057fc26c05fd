"""Fallbacks by name: who answers in the place of a model, for whom, and what is told of it."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import record_of
from crplugins.testing import FakeProvider, Script
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, UPSTREAM_KEY, Setup

DOWN = Script.error(504, "no")
TOO_LONG = Script.error(400, "This model's maximum context length is 8192 tokens.", code="context_length_exceeded")
FILTERED = Script.error(400, "Rejected by our safety system.", code="content_policy_violation")
PRICES = {"a": 1e-6, "b": 2e-6, "c": 3e-6}


class Models(Setup):
    """A gateway with a provider for each of the names `a`, `b` and `c`."""

    providers: dict[str, FakeProvider]
    watcher: Watcher
    app: Gateway

    @property
    def asked(self) -> str:
        """The names, each as often as it was asked."""
        return "".join(name * len(provider.requests) for name, provider in self.providers.items())


@pytest.fixture(params=["direct", "litellm"])
def models(request: Any, serve: Any) -> Any:
    """`async with models(fallbacks=[{"a": ["b"]}]) as gateway:`"""

    @asynccontextmanager
    async def start(key: dict[str, Any] | None = None, entries: dict[str, Any] | None = None, **words: Any):
        watcher = Watcher()
        async with AsyncExitStack() as stack:
            providers = {name: await stack.enter_async_context(FakeProvider()) for name in "abc"}
            model_list = [
                {
                    "model_name": name,
                    "litellm_params": {
                        "model": f"openai/{name}-model",
                        "api_base": provider.base_url,
                        "api_key": UPSTREAM_KEY,
                    },
                    "model_info": {"input_cost_per_token": PRICES[name], "output_cost_per_token": PRICES[name]},
                    "handler": request.param,
                    **(entries or {}).get(name, {}),
                }
                for name, provider in providers.items()
            ]
            keys = [{"id": "k", "secret": CLIENT_KEY, **(key or {})}]
            app = Gateway(model_list=model_list, keys=keys, plugins=[watcher], **words)
            url = await stack.enter_async_context(serve(app))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            gateway = Models(providers["a"], url, session)
            gateway.providers, gateway.watcher, gateway.app = providers, watcher, app
            yield gateway

    return start


async def ask(gateway: Models, **scripts: Script) -> Any:
    for name, script in scripts.items():
        gateway.providers[name].default = script
    return await gateway.post(model="a")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fallback_answers_and_is_in_the_books_the_header_and_not_in_the_body(models, stream) -> None:
    async with models(fallbacks=[{"a": ["b"]}]) as gateway:
        gateway.providers["a"].default = DOWN
        answer = await gateway.post(
            model="a", stream=stream, stream_options={"include_usage": True} if stream else None
        )
        assert (answer.status, answer.headers["x-crplugins-model"]) == (200, "b")
        assert '"model":"a"' in answer.text.replace(" ", "")
        assert "b-model" not in answer.text
        assert gateway.providers["b"].requests[0].json["model"] == "b-model"
        exchange = gateway.watcher.exchange
        assert [(each.kind, each.error_type) for each in exchange.attempts] == [
            ("initial", "upstream_5xx"), ("fallback", ""),
        ]  # fmt: skip
        assert (exchange.requested_model, exchange.served_model, exchange.outcome) == ("a", "b-model", "ok")
        assert exchange.price.input == PRICES["b"] * 1e12


async def test_without_a_failure_the_header_has_the_name_that_was_asked_for(models) -> None:
    async with models(fallbacks=[{"a": ["b"]}], aliases={"fast": "a"}) as gateway:
        assert (await gateway.post(model="a")).headers["x-crplugins-model"] == "a"
        assert (await gateway.post(model="fast")).headers["x-crplugins-model"] == "fast"
        gateway.providers["a"].default = DOWN
        assert (await gateway.post(model="fast")).headers["x-crplugins-model"] == "b"


async def test_the_client_sees_what_response_model_says(models) -> None:
    async with models(fallbacks=[{"a": ["b"]}], response_model="served") as gateway:
        answer = await ask(gateway, a=DOWN)
        assert '"model":"b-model"' in answer.text.replace(" ", "")


@pytest.mark.parametrize(
    ("script", "words", "asked"),
    [
        (DOWN, {"fallbacks": [{"a": ["b"]}]}, "ab"),
        (DOWN, {"fallbacks": {"a": "b"}}, "ab"),
        (DOWN, {"fallbacks": [{"*": ["b"]}]}, "ab"),
        (DOWN, {"default_fallbacks": ["b"]}, "ab"),
        (DOWN, {"fallbacks": [{"a": ["c"]}], "default_fallbacks": ["b"]}, "ac"),
        (DOWN, {"context_window_fallbacks": [{"a": ["b"]}], "content_policy_fallbacks": [{"a": ["b"]}]}, "a"),
        (TOO_LONG, {"context_window_fallbacks": [{"a": ["b"]}], "fallbacks": [{"a": ["c"]}]}, "ab"),
        (TOO_LONG, {"context_window_fallbacks": [{"c": ["b"]}], "fallbacks": [{"a": ["b"]}]}, "ab"),
        (TOO_LONG, {"default_fallbacks": ["b"]}, "ab"),
        (TOO_LONG, {"fallbacks": [{"c": ["b"]}]}, "a"),
        (FILTERED, {"content_policy_fallbacks": [{"a": ["b"]}], "fallbacks": [{"a": ["c"]}]}, "ab"),
        (FILTERED, {"fallbacks": [{"a": ["b"]}], "context_window_fallbacks": [{"a": ["c"]}]}, "ab"),
        (FILTERED, {"fallbacks": [{"a": ["b"]}], "content_policy_fallbacks": [{"c": ["b"]}]}, "a"),
        (Script.error(400, "no", param="temperature"), {"fallbacks": [{"a": ["b"]}]}, "a"),
        (DOWN, {"entries": {"a": {"fallbacks": ["b"]}}, "fallbacks": [{"a": ["c"]}]}, "ab"),
    ],
)
async def test_what_went_wrong_says_which_fallbacks_there_are(models, script, words, asked) -> None:
    async with models(**words) as gateway:
        answer = await ask(gateway, a=script)
        assert gateway.asked == asked
        assert (answer.status == 200) == (len(asked) > 1)


async def test_they_are_asked_one_after_the_other_and_then_those_of_their_own(models) -> None:
    async with models(fallbacks=[{"a": ["b"]}, {"b": ["c"]}]) as gateway:
        answer = await ask(gateway, a=DOWN, b=DOWN)
        assert (gateway.asked, answer.headers["x-crplugins-model"]) == ("abc", "c")


@pytest.mark.parametrize(
    "fallbacks",
    [
        {"a": ["b"], "b": ["a"]},
        {"a": ["a", "b"], "b": ["b", "a"]},
        {"a": ["b"], "b": ["c"], "c": ["a"]},
        {"*": ["a", "b", "c"]},
    ],
)
async def test_names_that_fall_back_to_each_other_are_asked_once_each(models, fallbacks) -> None:
    async with models(fallbacks=fallbacks) as gateway:
        answer = await ask(gateway, a=DOWN, b=DOWN, c=DOWN)
        assert (answer.status, gateway.asked) == (504, "".join(fallbacks) if "*" not in fallbacks else "abc")
        gateway.providers["a"].default = Script()
        assert (await gateway.post(model="b")).headers["x-crplugins-model"] == "a"


async def test_of_a_circle_of_a_thousand_names_a_request_asks_six(models) -> None:
    names = [f"w/{number}" for number in range(1000)]
    circle = {name: [then] for name, then in pairwise([*names, names[0]])}
    entries = {"c": {"model_name": "w/*"}}
    async with models(entries=entries, fallbacks=circle, cooldown_time=0) as gateway:
        gateway.providers["c"].default = DOWN
        answer = await gateway.post(model="w/500")
        assert (answer.status, gateway.asked) == (504, "cccccc")


async def test_behind_a_fallback_that_cannot_take_the_request_the_next_one_is_asked(models) -> None:
    async with models(fallbacks=[{"a": ["b", "c"]}]) as gateway:
        answer = await ask(gateway, a=DOWN, b=FILTERED)
        assert (gateway.asked, answer.headers["x-crplugins-model"]) == ("abc", "c")


async def test_a_fallback_whose_stream_breaks_is_rescued_as_its_own_entry_says(models) -> None:
    async with models(fallbacks={"a": ["b", "c"]}, entries={"b": {"on_break": "restart"}}) as gateway:
        scripts = {"a": DOWN, "b": Script(text="word " * 30, cut_after=12), "c": Script(text="all is well")}
        for name, script in scripts.items():
            gateway.providers[name].default = script
        answer = await gateway.post(model="a", stream=True)
        assert (answer.status, gateway.asked) == (200, "abc")
        assert ("error" in answer.text, "word" in answer.text, "well" in answer.text) == (False, False, True)


@pytest.mark.parametrize("action", ["restart", "continue"])
async def test_the_header_names_who_began_a_rescued_stream_and_the_books_who_ended_it(models, action: str) -> None:
    prices = {f"{kind}_cost_per_token": PRICES["b"] for kind in ("input", "output")}
    entries = {"a": {"on_break": action}, "b": {"model_info": {**prices, "supports_assistant_prefill": True}}}
    async with models(fallbacks={"a": ["b"]}, entries=entries, metrics={"token": None}) as gateway:
        gateway.providers["a"].default = Script(text="word " * 30, cut_after=12)
        gateway.providers["b"].default = Script(text="all is well")
        answer = await gateway.post(model="a", stream=True)
        assert answer.headers["x-crplugins-model"] == "a"
        assert ("error" in answer.text, "well" in answer.text) == (False, True)
        exchange = gateway.watcher.exchange
        assert (record_of(exchange).served_model, exchange.price.input) == ("b-model", PRICES["b"] * 1e12)
        assert (exchange.fallbacks, exchange.rescues) == (("failure",), (action,))
        async with gateway.session.get(f"{gateway.url}/metrics") as scraped:
            text = await scraped.text()
        assert f'crplugins_stream_rescues_total{{kind="{action}",model="a",result="ok"}} 1.0' in text
        assert 'crplugins_fallbacks_total{model="a",reason="failure"} 1.0' in text


@pytest.mark.parametrize(
    ("script", "reason"), [(DOWN, "failure"), (TOO_LONG, "context_window"), (FILTERED, "content_policy")]
)
async def test_why_another_model_answers_is_known(models, script: Script, reason: str) -> None:
    async with models(fallbacks={"a": ["b"]}) as gateway:
        await ask(gateway, a=script)
        assert gateway.watcher.exchange.fallbacks == (reason,)
        await gateway.post(model="a")
        assert gateway.watcher.exchange.fallbacks == (("unavailable",) if script is DOWN else (reason,))
        gateway.providers["a"].default = Script()
        await gateway.post(model="b")
        assert gateway.watcher.exchange.fallbacks == ()


async def test_when_all_fail_the_client_gets_the_failure_of_the_last(models) -> None:
    async with models(fallbacks=[{"a": ["b"]}]) as gateway:
        answer = await ask(gateway, a=DOWN, b=Script.rate_limited(retry_after=30))
        assert (answer.status, gateway.asked) == (429, "ab")
        assert "b-model" not in answer.text


async def test_one_that_cools_down_is_not_asked_while_its_fallback_answers(models) -> None:
    async with models(fallbacks=[{"a": ["b"]}]) as gateway:
        gateway.providers["a"].default = DOWN
        for _ in range(4):
            assert (await gateway.post(model="a")).status == 200
        assert gateway.asked == "abbbb"


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ({"models": ["a"]}, "a"),
        ({"models": ["a", "b"]}, "ab"),
        ({"models": ["a"], "models_shadow": True}, "ab"),
        ({}, "ab"),
    ],
)
async def test_a_key_that_may_not_call_the_fallback_does_not_get_it(models, key: dict[str, Any], asked: str) -> None:
    async with models(key, fallbacks=[{"a": ["b"]}]) as gateway:
        answer = await ask(gateway, a=DOWN)
        assert (gateway.asked, answer.status) == (asked, 200 if len(asked) > 1 else 504)
        assert "b" not in answer.headers.get("x-crplugins-model", "") or len(asked) > 1


async def limits_left(gateway: Models) -> Sequence[int]:
    return [len(provider.requests) for provider in gateway.providers.values()]


async def test_the_limits_of_the_model_that_serves_count(models) -> None:
    limits = {"per_model": {"a": {"requests_per_minute": 2}, "b": {"requests_per_minute": 3}}}
    async with models(fallbacks=[{"a": ["b"]}], limits=limits, cooldown_time=0) as gateway:
        gateway.providers["a"].default = DOWN
        assert [(await gateway.post(model="a")).status for _ in range(3)] == [200, 200, 429]
        assert [(await gateway.post(model="b")).status for _ in range(2)] == [200, 429]
        assert gateway.asked == "aabbb"


async def test_a_fallback_whose_limit_is_used_up_is_passed_over(models) -> None:
    limits = {"per_model": {"b": {"requests_per_minute": 1}}}
    async with models(fallbacks=[{"a": ["b", "c"]}], limits=limits) as gateway:
        gateway.providers["a"].default = DOWN
        served = [(await gateway.post(model="a")).headers["x-crplugins-model"] for _ in range(2)]
        assert served == ["b", "c"]


async def test_the_tokens_are_those_of_the_model_that_serves(models) -> None:
    limits = {"per_model": {name: {"tokens_per_minute": 1000} for name in "ab"}}
    async with models(fallbacks=[{"a": ["b"]}], limits=limits, cooldown_time=0) as gateway:
        usage = {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
        gateway.providers["b"].default = Script(usage_object=usage)
        gateway.providers["a"].default = DOWN
        statuses = [(await gateway.post(model="a", max_tokens=300)).status for _ in range(3)]
        assert statuses == [200, 200, 504], "two answers of 400 tokens, and no room for a third"
        gateway.providers["a"].default = Script()
        assert (await gateway.post(model="a", max_tokens=300)).status == 200, "nothing of it was the limit of a"


async def test_a_budget_that_cannot_count_a_model_does_not_pay_for_it_as_a_fallback(models) -> None:
    key = {"budget": {"usd": 5, "period": "month"}}
    async with models(key, {"b": {"model_info": {}}}, fallbacks=[{"a": ["b", "c"]}]) as gateway:
        answer = await ask(gateway, a=DOWN)
        assert (answer.status, gateway.asked) == (200, "ac")


async def test_a_deployment_of_the_name_with_another_model_takes_a_prompt_that_is_too_long(serve) -> None:
    async with AsyncExitStack() as stack:
        providers = [await stack.enter_async_context(FakeProvider(default=TOO_LONG)) for _ in range(3)]
        providers[2].default = Script()
        base = {"api_key": UPSTREAM_KEY, "order": 1}
        model_list = [
            {
                "model_name": "m",
                "litellm_params": {**base, "model": model, "api_base": provider.base_url, "order": order},
            }
            for order, (model, provider) in enumerate(zip(["openai/x", "openai/x", "openai/y"], providers, strict=True))
        ]
        url = await stack.enter_async_context(
            serve(Gateway(model_list=model_list, keys=[{"id": "k", "secret": CLIENT_KEY}]))
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        assert (await Setup(providers[0], url, session).post(model="m")).status == 200
        assert [len(provider.requests) for provider in providers] == [1, 0, 1]
