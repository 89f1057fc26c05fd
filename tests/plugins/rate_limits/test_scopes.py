"""Whose limits apply to a request, and what is done where one is only a shadow."""

import logging
from typing import Any

import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Limits, Principal
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.rate_limits.levels import LimitLevel
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules
from crplugins.testing import Drive, lifespan
from tests.core.doubles import App
from tests.plugins.limits_setup import HI, Caller, Ground, ask, using

ONE = Limits(requests_per_minute=1)
TWO = Limits(requests_per_minute=2)


def limiting(rules: LimitRules, **options: Any) -> RateLimits:
    return RateLimits(rules, store=Ground().reservations, **options)


async def statuses(plugin: RateLimits, *callers: Plugin, **body: Any) -> list[int]:
    return [(await ask(App(), [caller, plugin], **body)).status for caller in callers]


A, B = Caller("a"), Caller("b")


async def test_each_key_has_the_default_for_keys_to_itself() -> None:
    assert await statuses(limiting(LimitRules(per_key=ONE)), A, B, A) == [200, 200, 429]


async def test_a_key_with_limits_of_its_own_has_those_and_no_default() -> None:
    own = Caller("a", Limits(requests_per_minute=2))
    assert await statuses(
        limiting(LimitRules(per_key=Limits(requests_per_minute=1, tokens_per_minute=1))), *[own] * 3
    ) == [200, 200, 429]


async def test_the_keys_of_a_team_share_its_limit() -> None:
    plugin = limiting(LimitRules(per_team={"search": ONE}))
    mine, yours, others = Caller("a", team="search"), Caller("b", team="search"), Caller("c", team="ads")
    assert await statuses(plugin, mine, yours, others) == [200, 429, 200]
    refused = await ask(App(), [yours, plugin])
    assert refused.json()["error"]["message"].startswith("Rate limit reached for m in organization search on requests")


async def test_a_key_and_a_team_of_one_name_share_nothing() -> None:
    plugin = limiting(LimitRules(per_key=ONE, per_team={"x": TWO}))
    assert await statuses(plugin, Caller("x", team="x"), Caller("y", team="x")) == [200, 200]


async def test_ids_that_look_like_each_others_places_share_nothing() -> None:
    plugin = limiting(LimitRules(per_key=ONE, per_key_and_model={"m": ONE}))
    assert await statuses(plugin, Caller("a"), Caller("a/model/m")) == [200, 200]


async def test_a_model_is_limited_for_all_keys_together() -> None:
    plugin = limiting(LimitRules(per_model={"m": ONE}))
    assert await statuses(plugin, A, B) == [200, 429]
    assert await statuses(plugin, B, model="other") == [200]
    refused = await ask(App(), [B, plugin])
    assert refused.json()["error"]["message"].startswith("Rate limit reached for m on requests per min (RPM): Limit 1")


async def test_a_model_is_limited_for_each_key() -> None:
    plugin = limiting(LimitRules(per_key_and_model={"m": ONE}))
    assert await statuses(plugin, A, B, A) == [200, 200, 429]
    assert await statuses(plugin, A, model="other") == [200]


async def test_a_name_with_a_star_limits_all_models_that_fit_it_together() -> None:
    """Who may complete a name may invent as many as it likes."""
    plugin = limiting(LimitRules(per_model={"w/*": TWO, "w/a": ONE}, per_key_and_model={"*-x": ONE}))
    invented = [("w/a", 200), ("w/a", 429), ("w/b", 200), ("w/c", 429), ("w/", 429), ("v/a", 200)]
    assert [await statuses(plugin, A, model=name) for name, _ in invented] == [[status] for _, status in invented]
    for caller in (A, B):
        assert [await statuses(plugin, caller, model=name) for name in ("1-x", "2-x")] == [[200], [429]]
    refused = await ask(App(), [A, plugin], model="w/d")
    assert "Limit 2, Used 2" in refused.json()["error"]["message"]


async def test_an_alias_counts_for_the_model_that_serves_and_is_named_in_the_refusal() -> None:
    plugin = limiting(LimitRules(per_model={"m": ONE}))
    plugins = [ModelAliases(aliases={"fast": "m"}), plugin]
    assert (await ask(App(), plugins, model="fast")).status == 200
    refused = await ask(App(), plugins, model="fast")
    assert (refused.status, "for fast on" in refused.json()["error"]["message"]) == (429, True)
    assert (await ask(App(), plugins)).status == 429


async def test_all_requests_together_are_limited_with_and_without_a_key() -> None:
    plugin = limiting(LimitRules(overall=TWO))
    assert await statuses(plugin, A) == [200]
    assert [(await ask(App(), [plugin])).status for _ in range(2)] == [200, 429]


async def test_every_limit_that_fits_applies_and_a_refusal_takes_of_none() -> None:
    rules = LimitRules(
        per_key=TWO,
        per_team={"t": Limits(requests_per_minute=10)},
        per_model={"m": ONE},
        overall=Limits(requests_per_minute=10),
    )
    plugin, caller = limiting(rules), Caller("a", team="t")
    assert await statuses(plugin, *[caller] * 5) == [200] + [429] * 4
    assert caller.principal is not None
    assert [level.used for level in await plugin.levels_of(caller.principal)] == [1, 1]
    assert await statuses(plugin, caller, model="other") == [200]


@pytest.mark.parametrize(("header", "expected"), [("6.6.6.6, 198.51.100.1", [200, 429]), ("198.51.100.1", [200, 429])])
async def test_an_address_is_limited_behind_a_trusted_proxy(header: str, expected: list[int]) -> None:
    plugin = limiting(LimitRules(per_client_address=ONE), trusted_proxies=["127.0.0.0/8"])
    found = [(await ask(App(), [plugin], headers={"x-forwarded-for": header})).status for _ in range(2)]
    assert found == expected
    assert (await ask(App(), [plugin], headers={"x-forwarded-for": "198.51.100.2"})).status == 200


async def test_an_address_cannot_be_made_up() -> None:
    plugin = limiting(LimitRules(per_client_address=ONE))
    found = [(await ask(App(), [plugin], headers={"x-forwarded-for": f"198.51.100.{i}"})).status for i in range(2)]
    assert found == [200, 429]


async def test_too_many_at_once_may_retry_after_a_second() -> None:
    plugin, caller = limiting(LimitRules()), Caller(limits=Limits(max_parallel_requests=1))
    import asyncio

    gate = asyncio.Event()
    stack = PluginMiddleware(App(gate=gate), plugins=[caller, plugin])
    async with lifespan(stack), Drive(stack, body={"model": "m", "messages": HI, "stream": True}) as call:
        await call.next_body()
        refused = await ask(App(), [caller, plugin])
        gate.set()
        await call.finish()
    assert refused.json()["error"] == {
        "message": "Rate limit reached for m in organization team-a on parallel requests: Limit 1, Used 1, Requested 1. "
        "Please try again in 1s.",
        "type": "requests", "param": None, "code": "rate_limit_exceeded",
    }  # fmt: skip
    assert (refused.status, refused.headers["retry-after"], refused.headers["retry-after-ms"]) == (429, "1", "1000")
    assert (await ask(App(), [caller, plugin])).status == 200


class Reasons(Plugin):
    """What records would say."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def on_request(self, exchange: Exchange) -> None: ...

    def on_finish(self, exchange: Exchange) -> None:
        self.seen.append(exchange.error_type)


async def test_records_tell_requests_from_tokens() -> None:
    reasons, plugin = Reasons(), limiting(LimitRules())
    for limits, body in (
        (ONE, {}),
        (Limits(tokens_per_minute=10), {}),
        (Limits(output_tokens_per_minute=9), {"max_tokens": 10}),
    ):
        caller = Caller(limits=limits)
        await ask(App(), [reasons, caller, plugin], **body)
        await ask(App(), [reasons, caller, plugin], **body)
    assert reasons.seen == ["", "rate_limited", "token_limited", "token_limited", "token_limited", "token_limited"]


@pytest.mark.parametrize("whole", [True, False])
async def test_a_shadow_lets_pass_what_it_counts_and_logs(whole: bool, caplog: pytest.LogCaptureFixture) -> None:
    plugin = limiting(
        LimitRules(per_key=Limits(requests_per_minute=1, tokens_per_minute=1, shadow=not whole), shadow=whole)
    )
    with caplog.at_level(logging.INFO, "crplugins.limits"):
        assert await statuses(plugin, A, A, A) == [200, 200, 200]
    assert plugin.shadowed == {"token_limited": 3, "rate_limited": 2}
    assert "would have been refused: tokens_per_minute of key/a/tokens/60000" in caplog.text


async def test_beside_a_shadow_other_limits_hold() -> None:
    plugin = limiting(LimitRules(per_key=Limits(requests_per_minute=1, shadow=True), overall=TWO))
    assert await statuses(plugin, A, A, A) == [200, 200, 429]
    assert plugin.shadowed == {"rate_limited": 2}


async def test_what_a_shadow_would_have_refused_is_not_counted_in_it() -> None:
    """So that it refuses as often as it will when it is one no more."""
    ground = Ground()
    plugin = RateLimits(LimitRules(per_key=Limits(requests_per_minute=1, shadow=True)), store=ground.reservations)
    for _ in range(4):
        await statuses(plugin, A, A)
        ground.clock.advance(60)
    assert plugin.shadowed == {"rate_limited": 4}


async def test_a_client_notices_nothing_of_a_shadow() -> None:
    plugin = limiting(LimitRules(per_key=Limits(requests_per_minute=1, shadow=True), overall=TWO))
    answer = await ask(App(), [A, plugin])
    assert answer.headers["x-ratelimit-limit-requests"] == "2"


async def test_a_key_may_be_a_shadow_under_the_default_limits() -> None:
    plugin = limiting(LimitRules(per_key=ONE))
    assert await statuses(plugin, *[Caller("a", Limits(shadow=True))] * 2) == [200, 200]
    assert plugin.shadowed == {"rate_limited": 1}


async def test_levels_are_read_for_a_key_and_its_team() -> None:
    rules = LimitRules(
        per_key=Limits(requests_per_minute=4, max_parallel_requests=3, burst={"requests_per_minute": 2}),
        per_team={"t": Limits(tokens_per_day=1000, shadow=True)},
        per_key_and_model={"m": TWO, "other": ONE},
        overall=ONE,
    )
    plugin, caller = limiting(rules), Caller("a", team="t")
    await ask(using(100, 20), [caller, plugin])
    assert caller.principal is not None
    levels = await plugin.levels_of(caller.principal)
    assert [level.utilization for level in levels] == [0.5, 0, 0.12, 0.5, 0]
    assert levels == [
        LimitLevel("requests_per_minute", "key", "a", "", 1, 4, 15_000, False, 2, 1, 1, 60_000),
        LimitLevel("max_parallel_requests", "key", "a", "", 0, 3, 0, False, 3, 0, 3, 0),
        LimitLevel("tokens_per_day", "team", "t", "", 120, 1000, 10_368_000, True, 1000, 120, 880, 86_400_000),
        LimitLevel("requests_per_minute", "key_and_model", "a", "m", 1, 2, 30_000, False, 2, 1, 1, 60_000),
        LimitLevel("requests_per_minute", "key_and_model", "a", "other", 0, 1, 0, False, 1, 0, 1, 60_000),
    ]


async def test_levels_are_read_for_keys_that_were_seen_or_are_configured() -> None:
    plugin = limiting(LimitRules(per_key=TWO, per_team={"t": TWO}))
    await statuses(plugin, Caller("a", team="t"), Caller("b", team="t"))
    levels = await plugin.levels([Principal("configured"), Principal("a", team="t")])
    assert [(level.scope, level.owner, level.used) for level in levels] == [
        ("key", "configured", 0),
        ("key", "a", 1),
        ("team", "t", 2),
        ("key", "b", 1),
    ]


async def test_without_limits_there_are_no_levels() -> None:
    assert await RateLimits().levels_of(Principal("a")) == []


async def utilization(plugin: RateLimits, caller: Caller) -> float:
    assert caller.principal is not None
    [level] = await plugin.levels_of(caller.principal)
    return level.utilization


@pytest.mark.parametrize(("every", "share"), [(0.51, 0.98), (1, 0.5), (3, 1 / 6)])
async def test_the_utilization_of_a_limit_that_is_used_steadily_is_the_share_that_is_used(
    every: float, share: float
) -> None:
    """Its level is hardly ever more than one request of 120."""
    ground, caller = Ground(), Caller("a")
    plugin = RateLimits(LimitRules(per_key=Limits(requests_per_minute=120)), store=ground.reservations)
    for _ in range(round(150 / every)):
        assert (await ask(App(), [caller, plugin])).status == 200
        ground.clock.advance(every)
    assert await utilization(plugin, caller) == pytest.approx(share, abs=0.03)
    ground.clock.advance(60)
    assert await utilization(plugin, caller) == 0


async def test_the_utilization_is_1_and_more_while_a_debt_is_repaid() -> None:
    ground, caller = Ground(), Caller("a")
    plugin = RateLimits(LimitRules(per_key=Limits(tokens_per_minute=1000)), store=ground.reservations)
    await ask(using(10, 4_990), [caller, plugin])
    for minutes in (0, 1, 1, 1, 0.9):
        ground.clock.advance(60 * minutes)
        assert await utilization(plugin, caller) >= 1
    ground.clock.advance(60)
    assert await utilization(plugin, caller) < 0.5
