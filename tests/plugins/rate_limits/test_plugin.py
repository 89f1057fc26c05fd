"""RateLimits: what is let through, what is refused, and in which words."""

from typing import Any

import pytest

from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.testing import PluginContract
from crplugins.testing.answer import Answer
from tests.core.doubles import JSON, App
from tests.plugins.limits_setup import HI, PROMPT, Caller, Ground, ask, ask_for, send, using


def under(limits: Limits, ground: Ground | None = None) -> tuple[Ground, list[Plugin]]:
    ground = ground or Ground()
    return ground, [Caller(limits=limits), RateLimits(store=ground.reservations)]


def message(answer: Answer) -> str:
    assert answer.status == 429
    text: str = answer.json()["error"]["message"]
    return text


PUBLISHED = [
    (30000, 14567, 24754, "18.642s", "18642", "19"),
    (10000, 8554, 3082, "9.816s", "9816", "10"),
    (30000, 18928, 11159, "174ms", "174", "1"),
    (30000, 29937, 385, "644ms", "644", "1"),
    (30000, 28039, 3906, "3.89s", "3890", "4"),
]


@pytest.mark.parametrize(("limit", "used", "requested", "wait", "milliseconds", "seconds"), PUBLISHED)
async def test_a_published_message_of_openais(
    limit: int, used: int, requested: int, wait: str, milliseconds: str, seconds: str
) -> None:
    """openai-node#1477 and others, the organization's name aside."""
    _, plugins = under(Limits(tokens_per_minute=limit))
    assert (await ask_for(used, using(used - 1, 1), plugins)).status == 200
    refused = await ask_for(requested, App(), plugins, model="gpt-4.1")
    assert refused.json() == {
        "error": {
            "message": f"Rate limit reached for gpt-4.1 in organization team-a on tokens per min (TPM): Limit {limit}, "
            f"Used {used}, Requested {requested}. Please try again in {wait}.",
            "type": "tokens",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    }
    assert (refused.headers["retry-after-ms"], refused.headers["retry-after"]) == (milliseconds, seconds)


@pytest.mark.parametrize(("limit", "used", "requested", "wait", "milliseconds", "seconds"), PUBLISHED)
async def test_the_wait_is_neither_too_short_nor_too_long(
    limit: int, used: int, requested: int, wait: str, milliseconds: str, seconds: str
) -> None:
    ground, plugins = under(Limits(tokens_per_minute=limit))
    await ask_for(used, using(used - 1, 1), plugins)
    ground.clock.advance((int(milliseconds) - 1) / 1000)
    assert (await ask_for(requested, App(), plugins)).status == 429
    ground.clock.advance(0.001)
    assert (await ask_for(requested, App(), plugins)).status == 200


NAMES = [
    ("requests_per_minute", "requests per min (RPM)", 20_000),
    ("requests_per_hour", "requests per hour (RPH)", 1_200_000),
    ("requests_per_day", "requests per day (RPD)", 28_800_000),
]


@pytest.mark.parametrize(("name", "words", "wait"), NAMES)
async def test_so_many_requests_and_no_more(name: str, words: str, wait: int) -> None:
    ground, plugins = under(Limits(**{name: 3}))
    for _ in range(3):
        assert (await ask(App(), plugins)).status == 200
    refused = await ask(App(), plugins)
    assert f"on {words}: Limit 3, Used 3, Requested 1. Please try again in" in message(refused)
    assert refused.json()["error"] | {"message": ""} == {
        "message": "", "type": "requests", "param": None, "code": "rate_limit_exceeded",
    }  # fmt: skip
    assert refused.headers["retry-after-ms"] == str(wait)
    ground.clock.advance(wait / 1000)
    assert (await ask(App(), plugins)).status == 200
    assert (await ask(App(), plugins)).status == 429


async def test_use_that_has_drained_by_a_moment_still_reads_as_whole_units() -> None:
    ground, plugins = under(Limits(requests_per_minute=3))
    for _ in range(3):
        await ask(App(), plugins)
    ground.clock.advance(0.005)
    assert "Limit 3, Used 3, Requested 1. Please try again in 19.99" in message(await ask(App(), plugins))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_what_the_client_allows_is_reserved_for_each_choice(field: str) -> None:
    _, plugins = under(Limits(tokens_per_minute=1000))
    assert "Requested 1012" in message(await ask(App(), plugins, **{field: 500, "n": 2}))


@pytest.mark.parametrize(
    ("body", "requested"),
    [
        ({"prompt": ["a"] * 1000}, 10_000),
        ({"prompt": [[1, 2]] * 1000, "n": 2}, 20_000),
        ({"prompt": "a", "best_of": 10**30}, 10**8),
    ],
)
async def test_an_answer_to_each_of_many_prompts_is_reserved(body: dict[str, Any], requested: int) -> None:
    _, plugins = under(Limits(output_tokens_per_minute=5000))
    refused = await send({"model": "m", "max_tokens": 10, **body}, App(), plugins, path="/v1/completions")
    assert f"Limit 5000, Requested {requested}." in message(refused)


@pytest.mark.parametrize("larger", ["max_tokens", "max_completion_tokens", "n_predict", "max_new_tokens"])
async def test_of_several_bounds_the_largest_is_reserved_as_servers_differ_in_which_counts(larger: str) -> None:
    _, plugins = under(Limits(tokens_per_minute=1000))
    bounds = {"max_tokens": 100, "max_completion_tokens": 100, larger: 5000}
    assert "Requested 5012" in message(await ask(App(), plugins, **bounds))
    assert (await ask(App(), plugins, **{**bounds, larger: 100})).status == 200


async def test_the_request_itself_is_never_changed() -> None:
    _, plugins = under(Limits(tokens_per_minute=1000, output_tokens_per_minute=10))
    app = App()
    await ask(app, plugins)
    assert app.bodies == [b'{"model":"m","messages":[{"role":"user","content":"hi"}]}']


async def test_a_request_larger_than_the_limit_is_not_to_be_retried() -> None:
    _, plugins = under(Limits(tokens_per_minute=1000))
    refused = await ask(App(), plugins, max_tokens=1000)
    assert message(refused) == (
        "Request too large for m in organization team-a on tokens per min (TPM): Limit 1000, Requested 1012. "
        "The input or output tokens must be reduced in order to run successfully."
    )
    assert not {"retry-after", "retry-after-ms"} & set(refused.headers)
    assert refused.headers["x-should-retry"] == "false"


async def test_a_request_that_only_our_guess_makes_too_large_takes_the_whole_limit() -> None:
    _, plugins = under(Limits(tokens_per_minute=500, output_tokens_per_minute=300))
    answer = await ask(App(), plugins)
    assert (answer.status, answer.headers["x-ratelimit-remaining-tokens"]) == (200, "0")


async def test_a_prompt_larger_than_the_limit_is_too_large_whoever_guesses() -> None:
    _, plugins = under(Limits(tokens_per_minute=PROMPT - 1))
    assert f"Limit {PROMPT - 1}, Requested {PROMPT}." in message(await ask(App(), plugins))


async def test_output_tokens_have_limits_of_their_own() -> None:
    _, plugins = under(Limits(output_tokens_per_minute=1000))
    assert (await ask(using(10_000, 800), plugins, max_tokens=900)).status == 200
    assert "on output tokens per min (OTPM): Limit 1000, Used 800, Requested 201. " in message(
        await ask(App(), plugins, max_tokens=201)
    )


async def test_a_smaller_burst_spreads_requests_out() -> None:
    ground, plugins = under(Limits(requests_per_minute=60, burst={"requests_per_minute": 2}))
    assert [(await ask(App(), plugins)).status for _ in range(3)] == [200, 200, 429]
    refused = await ask(App(), plugins)
    assert "Limit 60, Burst 2, Used 2, Requested 1. Please try again in 1s." in message(refused)
    ground.clock.advance(1)
    assert [(await ask(App(), plugins)).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(("minutes", "told"), [(1, None), (2, None), (3, "false"), (1440, "false")])
async def test_who_would_have_to_wait_for_long_is_told_not_to_try_again(minutes: int, told: str | None) -> None:
    """SDKs sleep inside the call, some of them as long as they are told."""
    ground = Ground()
    plugins = [Caller(limits=Limits(tokens_per_minute=1000)), RateLimits(store=ground.reservations, max_debt=2000)]
    await ask(using(10, minutes * 1000 - 10), plugins)
    refused = await ask(App(), plugins, max_tokens=988)
    assert (float(refused.headers["retry-after"]), refused.headers.get("x-should-retry")) == (minutes * 60, told)


@pytest.mark.parametrize(("debt", "minutes"), [(60, 49), (60.0, 49), (5, 5), (0, 0)])
async def test_what_an_answer_took_beyond_its_reservation_is_repaid_up_to_the_bound_of_debt(
    debt: float, minutes: int
) -> None:
    """50 times a minute's tokens in one answer: the rest of the hour pays for it."""
    ground = Ground()
    plugins = [Caller(limits=Limits(tokens_per_minute=1000)), RateLimits(store=ground.reservations, max_debt=debt)]
    await ask(using(10, 49_990), plugins)
    refused = await ask(App(), plugins, max_tokens=988)
    assert float(refused.headers["retry-after"]) == (minutes + 1) * 60
    ground.clock.advance((minutes + 1) * 60 - 1)
    assert (await ask(App(), plugins, max_tokens=988)).status == 429
    ground.clock.advance(1)
    assert (await ask(App(), plugins, max_tokens=988)).status == 200


async def test_a_changed_limit_holds_at_once_for_what_is_used_already() -> None:
    ground, plugins = under(Limits(requests_per_minute=3))
    for _ in range(3):
        await ask(App(), plugins)
    _, raised = under(Limits(requests_per_minute=5), ground)
    assert [(await ask(App(), raised)).status for _ in range(3)] == [200, 200, 429]


async def test_changed_rules_hold_at_once_for_what_is_used_already() -> None:
    ground = Ground()
    plugin = RateLimits(LimitRules(overall=Limits(requests_per_minute=2)), store=ground.reservations)
    assert [(await ask(App(), [plugin])).status for _ in range(3)] == [200, 200, 429]
    plugin.rules = LimitRules(overall=Limits(requests_per_minute=3))
    assert [(await ask(App(), [plugin])).status for _ in range(2)] == [200, 429]


async def test_a_refused_request_takes_nothing_of_any_limit() -> None:
    _, plugins = under(Limits(requests_per_minute=10, tokens_per_minute=100, requests_per_day=10))
    assert [(await ask(App(), plugins, max_tokens=1000)).status for _ in range(20)] == [429] * 20
    assert (await ask(using(1, 1), plugins, max_tokens=1)).headers["x-ratelimit-remaining-requests"] == "9"


async def test_without_limits_a_request_passes_without_the_headers() -> None:
    _, plugins = under(Limits())
    answer = await ask(App(), plugins)
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize("body", [b"no json", b"[]", b""])
async def test_a_body_that_is_no_json_object_is_refused_and_takes_nothing(body: bytes) -> None:
    _, plugins = under(Limits(requests_per_minute=1, tokens_per_minute=5000))
    assert (await send(body, App(), plugins)).status == 400
    assert (await ask(App(), plugins)).status == 200


@pytest.mark.parametrize("odd", [0, -5, "many", 10**40, True, 1.5, None])
async def test_an_odd_bound_is_the_apps_to_refuse(odd: object) -> None:
    _, plugins = under(Limits(requests_per_minute=1))
    assert (await ask(App(b"{}", status=400, content_type=JSON), plugins, max_tokens=odd, n=odd)).status == 400


class TestRateLimits(PluginContract):
    def make_plugin(self) -> Plugin:
        limits = Limits(requests_per_minute=1000, tokens_per_minute=100_000, max_parallel_requests=100)
        return RateLimits(LimitRules(overall=limits))

    def refused_request(self) -> dict[str, object]:
        return {"body": {"model": "m", "messages": HI, "max_tokens": 200_000}}


class TestRateLimitsThatLimitNothing(PluginContract):
    def make_plugin(self) -> Plugin:
        return RateLimits()
