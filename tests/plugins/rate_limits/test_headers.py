"""What a client is told of its limits with every answer."""

import pytest

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.testing.answer import Answer
from tests.core.doubles import CHUNK, DONE, JSON, STOP, App, failing
from tests.plugins.limits_setup import Caller, Ground, ask, ask_for, using


def told(answer: Answer) -> dict[str, str]:
    prefix = "x-ratelimit-"
    return {name.removeprefix(prefix): value for name, value in answer.headers.items() if name.startswith(prefix)}


def under(ground: Ground, **limits: int | dict[str, int]) -> list[Plugin]:
    return [Caller(limits=Limits(**limits)), RateLimits(store=ground.reservations)]


@pytest.mark.parametrize(("limit", "reset"), [(500, "120ms"), (5000, "12ms"), (10_000, "6ms"), (1, "1m0s")])
async def test_one_request_of_so_many_a_minute(limit: int, reset: str) -> None:
    """As OpenAI sends it (recordings)."""
    answer = await ask(App(), under(Ground(), requests_per_minute=limit))
    assert told(answer) == {
        "limit-requests": str(limit),
        "remaining-requests": str(limit - 1),
        "reset-requests": reset,
    }


async def test_tokens_reset_when_all_of_them_are_back() -> None:
    """2390 of 160000 is 896ms at OpenAI."""
    answer = await ask_for(2390, using(1, 1), under(Ground(), tokens_per_minute=160_000))
    assert told(answer) == {"limit-tokens": "160000", "remaining-tokens": "157610", "reset-tokens": "897ms"}


async def test_a_days_tokens_reset_in_minutes() -> None:
    """OpenAI sent 4m12.172s for 4379 of 1.5 million, which is right to within a token."""
    answer = await ask_for(4379, using(1, 1), under(Ground(), tokens_per_day=1_500_000))
    assert told(answer) == {"limit-tokens": "1500000", "remaining-tokens": "1495621", "reset-tokens": "4m12.231s"}


async def test_the_tightest_limit_of_each_kind_is_shown() -> None:
    ground = Ground()
    plugins = under(ground, requests_per_minute=10, requests_per_day=12, tokens_per_minute=1000, tokens_per_day=5000)
    first = await ask_for(100, using(99, 1), plugins)
    assert (told(first)["limit-requests"], told(first)["limit-tokens"]) == ("10", "1000")
    for _ in range(9):
        ground.clock.advance(60)
        last = await ask_for(300, using(299, 1), plugins)
    assert (told(last)["limit-requests"], told(last)["remaining-requests"]) == ("12", "2")
    assert (told(last)["limit-tokens"], told(last)["remaining-tokens"][:2]) == ("5000", "22")


async def test_a_stream_has_the_headers_before_its_first_event() -> None:
    answer = await ask(App(CHUNK, STOP, DONE), under(Ground(), requests_per_minute=60), stream=True)
    assert told(answer)["remaining-requests"] == "59"


async def test_a_refusal_shows_the_limit_that_refused_though_another_is_tighter() -> None:
    plugins = under(Ground(), tokens_per_minute=1000, tokens_per_day=100_000)
    await ask_for(900, using(899, 1), plugins)
    await ask_for(100, using(99, 1), plugins)
    refused = await ask_for(99_001, App(), plugins)
    assert (told(refused)["limit-tokens"], told(refused)["remaining-tokens"]) == ("1000", "0")


async def test_a_refusal_shows_what_remains_without_the_request() -> None:
    plugins = under(Ground(), requests_per_minute=10, tokens_per_minute=1000)
    await ask_for(400, using(399, 1), plugins)
    refused = await ask_for(700, App(), plugins)
    assert told(refused) == {
        "limit-requests": "10", "remaining-requests": "9", "reset-requests": "6s",
        "limit-tokens": "1000", "remaining-tokens": "600", "reset-tokens": "24s",
    }  # fmt: skip


async def test_a_burst_is_what_remains_of_a_limit() -> None:
    plugins = under(Ground(), requests_per_minute=60, burst={"requests_per_minute": 5})
    assert told(await ask(App(), plugins)) == {
        "limit-requests": "60", "remaining-requests": "4", "reset-requests": "1s",
    }  # fmt: skip


async def test_what_remains_is_never_more_than_can_be_had() -> None:
    ground = Ground()
    plugins = under(ground, requests_per_minute=3)
    await ask(App(), plugins)
    ground.clock.advance(10)  # half a request is back
    assert told(await ask(App(), plugins))["remaining-requests"] == "1"
    ground.clock.advance(10)
    assert told(await ask(App(), plugins))["remaining-requests"] == "1"


async def test_debt_leaves_nothing_and_not_less() -> None:
    plugins = under(Ground(), tokens_per_minute=1000)
    await ask_for(100, using(1500, 300), plugins)
    refused = await ask_for(100, App(), plugins)
    assert (told(refused)["remaining-tokens"], told(refused)["reset-tokens"]) == ("0", "1m48s")


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 7}, {"max_parallel_requests": 1}])
async def test_an_apps_own_headers_of_the_kind_never_pass(limits: dict[str, int]) -> None:
    theirs = [("x-ratelimit-limit-requests", "1"), ("X-RateLimit-Remaining-Tokens", "1"), ("x-ratelimit-limit", "1")]
    app = App(b"{}", content_type=JSON, headers=[(name.lower(), value) for name, value in [*theirs, ("x-other", "1")]])
    answer = await ask(app, under(Ground(), **limits))
    assert answer.headers["x-other"] == "1"
    assert set(told(answer).values()) - {"7", "6", "8.572s"} == set()


async def test_output_tokens_and_parallel_requests_have_no_headers() -> None:
    answer = await ask(App(), under(Ground(), output_tokens_per_minute=5000, max_parallel_requests=1))
    assert told(answer) == {}


class Refuses(Plugin):
    async def on_request(self, exchange: Exchange) -> None:
        raise GatewayError(429, "Spent.", type="insufficient_quota")


async def test_a_refusal_further_in_shows_what_remains_without_the_request() -> None:
    answer = await ask(App(), [*under(Ground(), requests_per_minute=5), Refuses()])
    assert (answer.status, told(answer)["remaining-requests"], told(answer)["reset-requests"]) == (429, "5", "0s")


async def test_errors_of_the_app_have_the_headers_too() -> None:
    answer = await ask(App(b"{}", status=500, content_type=JSON), under(Ground(), requests_per_minute=5))
    assert (answer.status, told(answer)["remaining-requests"]) == (500, "4")


async def test_a_bug_further_in_has_the_headers_too() -> None:
    answer = await ask(App(), [*under(Ground(), requests_per_minute=5), failing("on_request")()])
    assert (answer.status, told(answer)["remaining-requests"]) == (500, "5")


async def test_a_shared_limit_is_shown_where_it_is_the_tightest() -> None:
    ground = Ground()
    rules = LimitRules(overall=Limits(requests_per_minute=2))
    plugins = [Caller(limits=Limits(requests_per_minute=100)), RateLimits(rules, store=ground.reservations)]
    assert told(await ask(App(), plugins))["limit-requests"] == "2"
    await ask(App(), plugins)
    refused = await ask(App(), plugins)
    assert refused.json()["error"]["message"].startswith("Rate limit reached for m on requests per min (RPM): Limit 2")
