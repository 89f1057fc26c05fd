"""Limits of end users and of sessions: within the limits of their key, in every store, and forgotten in time."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.core.identity import Identities, IdentityRules, IdentitySource
from crplugins.core.principal import Limits
from crplugins.limits.redis.store import RedisStore
from crplugins.limits.reservations import Reservations
from crplugins.limits.sqlite.store import SqliteStore
from crplugins.plugins.rate_limits.plugin import RateLimits
from crplugins.plugins.rate_limits.rules import LimitRules, SessionLimits
from crplugins.testing import FrozenClock
from tests.core.doubles import App
from tests.long import times
from tests.plugins.limits_setup import Caller, Ground, ask, ask_for, using
from tests.redis_setup import redis, redis_process  # noqa: F401  # fixtures

ONE, TWO = Limits(requests_per_minute=1), Limits(requests_per_minute=2)
RUN = {"x-session-id": "run-1"}
KEY = Caller("team-a")


class Shared:
    """A store on a clock that a test moves."""

    def __init__(self, store: Any) -> None:
        self.clock = FrozenClock(time=1_700_000_000.0)
        self.reservations = Reservations(store, clock=lambda: round(self.clock.time() * 1000))

    def limiting(self, rules: LimitRules, **identities: Any) -> RateLimits:
        return RateLimits(rules, store=self.reservations, identities=Identities(IdentityRules(**identities)))


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shared]:
    if request.param == "memory":
        found = Shared(Ground().store)
    elif request.param == "sqlite":
        found = Shared(SqliteStore(tmp_path / "limits.db"))
    else:
        found = Shared(RedisStore(request.getfixturevalue("redis").url, seconds=5))
    async with found.reservations:
        yield found


async def statuses(plugin: RateLimits, *requests: dict[str, Any]) -> list[int]:
    return [(await ask(using(30, 4), [KEY, plugin], **request)).status for request in requests]


ANN, BEN = {"user": "ann"}, {"user": "ben"}
RUN_1, RUN_2 = {"headers": RUN}, {"metadata": {"session_id": "run-2"}}


async def test_each_user_has_the_limit_to_itself_and_the_unnamed_have_one_together(shared: Shared) -> None:
    plugin = shared.limiting(LimitRules(per_user=ONE))
    assert await statuses(plugin, ANN, BEN, ANN, {}, {}, BEN) == [200, 200, 429, 200, 429, 429]
    shared.clock.advance(60)
    assert await statuses(plugin, ANN, {}) == [200, 200]


async def test_a_client_that_is_another_user_each_time_still_meets_the_limit_of_its_key(shared: Shared) -> None:
    plugin = shared.limiting(LimitRules(per_key=Limits(requests_per_minute=5), per_user=TWO))
    assert await statuses(plugin, *[{"user": f"user-{number}"} for number in range(8)]) == [200] * 5 + [429] * 3


@settings(max_examples=times(8, 300))
@given(names=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=12, max_size=16))
async def test_no_choice_of_names_lets_more_through_than_the_key_the_user_and_the_session_may(
    names: list[tuple[str, str]],
) -> None:
    rules = LimitRules(
        per_key=Limits(requests_per_minute=7),
        per_user=Limits(requests_per_minute=4),
        per_session=SessionLimits(requests=3),
    )
    plugin = RateLimits(rules, store=Ground().reservations)
    found = await statuses(plugin, *[{"user": user, "metadata": {"session_id": run}} for user, run in names])
    passed = Counter(name for pair, status in zip(names, found, strict=True) if status == 200 for name in pair)
    assert found.count(200) <= 7
    assert all(passed[user] <= 4 for user in "abc")
    assert all(passed[run] <= 3 for run in "xyz")
    assert found[0] == 200


async def test_a_session_ends_after_so_many_requests_and_no_waiting_helps(shared: Shared) -> None:
    plugin = shared.limiting(LimitRules(per_session=SessionLimits(requests=2)))
    assert await statuses(plugin, RUN_1, RUN_1, RUN_1, RUN_2) == [200, 200, 403, 200]
    for _ in range(8):
        shared.clock.advance(3600)
        assert await statuses(plugin, RUN_1) == [403]
    refused = await ask(App(), [KEY, plugin], headers=RUN)
    assert refused.json()["error"] == {
        "message": "This session has reached its limit on requests in all: Limit 2, Remaining 0, Requested 1. "
        "Please do not retry.",
        "type": "session_limit",
        "param": None,
        "code": "session_limit_exceeded",
    }
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers


async def test_a_session_ends_after_so_many_tokens_as_they_were_really_used(shared: Shared) -> None:
    plugin = shared.limiting(LimitRules(per_session=SessionLimits(tokens=1000)))
    app = using(300, 100)
    for left in (1000 - 500, 600 - 500):
        answer = await ask_for(500, app, [KEY, plugin], headers=RUN)
        assert (answer.status, answer.headers["x-ratelimit-remaining-tokens"]) == (200, str(left))
        await settled(shared)
    refused = await ask_for(500, app, [KEY, plugin], headers=RUN)
    assert (refused.status, refused.json()["error"]["code"]) == (403, "session_limit_exceeded")
    assert "tokens in all: Limit 1000, Remaining 200, Requested 500." in refused.json()["error"]["message"]
    assert (await ask_for(200, app, [KEY, plugin], headers=RUN)).status == 200, "a smaller request still fits"
    assert (await ask_for(2000, app, [KEY, plugin], headers={"x-session-id": "new"})).status == 403


async def settled(shared: Shared) -> None:
    while shared.reservations._settling:
        await asyncio.gather(*shared.reservations._settling)


async def test_a_session_may_have_limits_by_time_too_and_those_can_be_waited_for(shared: Shared) -> None:
    plugin = shared.limiting(LimitRules(per_session=SessionLimits(requests=9, requests_per_minute=1)))
    assert await statuses(plugin, RUN_1) == [200]
    refused = await ask(App(), [KEY, plugin], headers=RUN)
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert " for this session on requests per min" in refused.json()["error"]["message"]


async def test_a_refused_request_takes_nothing_of_its_user_and_its_session(shared: Shared) -> None:
    rules = LimitRules(per_key=ONE, per_user=TWO, per_session=SessionLimits(requests=2))
    plugin = shared.limiting(rules, missing_session="ignore")
    both = {**ANN, "headers": RUN}
    assert await statuses(plugin, both, both, both) == [200, 429, 429]
    plugin.rules = LimitRules(per_user=TWO, per_session=SessionLimits(requests=2))
    assert await statuses(plugin, both, ANN, {"user": "ben", "headers": RUN}) == [200, 429, 403]


async def test_a_request_that_must_name_its_session_is_refused_before_it_takes_anything(shared: Shared) -> None:
    plugin = shared.limiting(LimitRules(per_key=ONE, per_session=SessionLimits(requests=2)))
    assert await statuses(plugin, {}, {}, RUN_1) == [400, 400, 200]


async def test_where_nobody_limits_users_and_sessions_names_are_not_even_read(shared: Shared) -> None:
    plugin = shared.limiting(LimitRules(per_key=Limits(requests_per_minute=9)), missing_user="refuse")
    assert await statuses(plugin, {}, {"user": "a" * 300}) == [200, 200]


async def test_invented_names_fill_no_store(shared: Shared) -> None:
    """They share one limit, once a key has no room for more."""
    plugin = shared.limiting(LimitRules(per_user=TWO), max_per_key=4)
    found = await statuses(plugin, *[{"user": f"user-{number}"} for number in range(12)])
    assert found == [200] * 4 + [200] * 2 + [429] * 6
    assert await statuses(plugin, {"user": "user-0"}, {"user": "user-0"}) == [200, 429]


async def test_in_memory_a_session_is_forgotten_when_it_has_been_idle() -> None:
    ground = Ground()
    plugin = RateLimits(LimitRules(per_session=SessionLimits(requests=1)), store=ground.reservations)
    assert await statuses(plugin, RUN_1, RUN_1) == [200, 403]
    assert len(ground.store) == 1
    ground.clock.advance(26 * 3600)
    ground.store._table.expire(now := round(ground.clock.time() * 1000), now, 10)
    assert len(ground.store) == 0
    assert await statuses(plugin, RUN_1) == [200]


async def test_in_redis_every_state_of_a_name_expires_and_none_is_named_in_clear(redis: Any) -> None:  # noqa: F811
    store = Reservations(RedisStore(redis.url, seconds=5))
    rules = LimitRules(per_user=Limits(tokens_per_day=10_000), per_session=SessionLimits(requests=5, tokens=10_000))
    plugin = RateLimits(rules, store=store)
    assert await statuses(plugin, {"user": "ann@example.com", **RUN_1}) == [200]
    keys = redis.command("KEYS", "*").decode()
    assert (keys.count("/user/"), keys.count("/session/")) == (1, 2)
    assert "ann" not in keys
    assert "run-1" not in keys
    for key in [line for line in keys.splitlines() if "/session/" in line]:
        left = int(redis.command("PTTL", key).strip()[1:])
        assert 24 * 3600e3 < left < 25.1 * 3600e3


async def test_no_log_names_a_user(caplog: pytest.LogCaptureFixture) -> None:
    rules = LimitRules(per_user=Limits(requests_per_minute=1, shadow=True), per_session=SessionLimits(shadow=True))
    plugin = RateLimits(rules, store=Ground().reservations, identities=named_by("user", "user"))
    with caplog.at_level(logging.DEBUG):
        assert await statuses(plugin, {"user": "ann@example.com\nroot"}, {"user": "ann@example.com\nroot"}) == [
            200,
            200,
        ]
    assert "would have been refused" in caplog.text
    assert "ann" not in caplog.text


def named_by(user: str, session: str) -> Identities:
    return Identities(IdentityRules(user=(IdentitySource.of(user),), session=(IdentitySource.of(session),)))


async def test_a_shadow_of_a_session_counts_and_lets_pass() -> None:
    plugin = RateLimits(
        LimitRules(per_session=SessionLimits(requests=1, tokens=1, shadow=True)), store=Ground().reservations
    )
    assert await statuses(plugin, RUN_1, RUN_1) == [200, 200]
    assert plugin.shadowed == {"token_limited": 2, "rate_limited": 1}


async def test_at_once_no_more_pass_than_the_session_may(shared: Shared) -> None:
    plugin = shared.limiting(LimitRules(per_session=SessionLimits(requests=7)))
    answers = await asyncio.gather(*[ask(App(), [KEY, plugin], headers=RUN) for _ in range(20)])
    assert sorted(answer.status for answer in answers) == [200] * 7 + [403] * 13
