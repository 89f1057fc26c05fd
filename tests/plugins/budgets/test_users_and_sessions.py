"""Budgets of end users and of sessions: beside those of their key, and out of every log and metric."""

import logging
from typing import Any

import pytest

from crplugins.core.identity import Identities, IdentityRules
from crplugins.core.principal import Budget
from crplugins.core.usage import Price, pico_usd
from crplugins.plugins.budgets.plugin import Budgets
from tests.plugins.limits_setup import Caller, Ground, ask, using

PRICE = Price(pico_usd("0.000010"), pico_usd("0.000100"))  # 10 and 100 micro-USD
COST = 30 * 10 + 4 * 100
RUN = {"x-session-id": "run-1"}


class Purses:
    """A caller, and the plugin with these budgets."""

    def __init__(self, **options: Any) -> None:
        self.ground = Ground(time=1_795_521_600.0)  # a Tuesday in November 2026
        self.caller = Caller("a", team="t")
        rules = IdentityRules(missing_session=options.pop("missing_session", "refuse"))
        options = {"prices": lambda _: PRICE, "identities": Identities(rules)} | options
        self.plugin = Budgets(store=self.ground.reservations, **options)

    async def ask(self, **request: Any) -> Any:
        return await ask(using(30, 4), [self.caller, self.plugin], max_tokens=2, **request)

    async def statuses(self, *requests: dict[str, Any]) -> list[int]:
        return [(await self.ask(**request)).status for request in requests]


async def test_a_session_ends_when_its_money_is_spent_and_another_begins_with_all_of_it() -> None:
    purses = Purses(per_session=Budget(2 * COST, "total"))
    assert await purses.statuses(*[{"headers": RUN}] * 3) == [200, 200, 403]
    refused = await purses.ask(headers=RUN)
    assert refused.json()["error"] == {
        "message": "This session has reached its budget: 0.0014 of 0.0014 USD are spent or reserved, and this request may "
        "cost more than the rest. Please do not retry.",
        "type": "session_limit",
        "param": None,
        "code": "session_budget_exceeded",
    }
    assert refused.headers["x-should-retry"] == "false"
    assert await purses.statuses({"headers": {"x-session-id": "run-2"}}, {}) == [200, 400]


async def test_sessions_however_many_stay_within_the_budget_of_their_key() -> None:
    purses = Purses(per_key=Budget(3 * COST, "month"), per_session=Budget(2 * COST, "total"))
    found = await purses.statuses(*[{"headers": {"x-session-id": f"run-{number}"}} for number in range(5)])
    assert found == [200] * 3 + [429] * 2
    refused = await purses.ask(headers={"x-session-id": "run-9"})
    assert refused.json()["error"]["code"] == "insufficient_quota"


async def test_each_user_of_a_key_has_a_budget_in_each_period() -> None:
    purses = Purses(per_user=Budget(COST, "week"))
    ann, ben = {"user": "ann"}, {"user": "ben"}
    assert await purses.statuses(ann, ben, ann, {}, {}) == [200, 200, 429, 200, 429]
    refused = await purses.ask(**ann)
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "user_budget_exceeded")
    assert refused.headers["x-should-retry"] == "false"
    purses.ground.clock.advance(6 * 86_400)
    assert await purses.statuses(ann) == [200]


async def test_a_model_without_a_price_is_refused_under_the_budget_of_a_session_alone() -> None:
    purses = Purses(per_session=Budget(COST, "total"), prices=lambda _: None, missing_session="ignore")
    assert await purses.statuses({"headers": RUN}, {}) == [400, 200]


async def test_the_ledger_is_asked_about_keys_and_teams_only() -> None:
    asked: list[tuple[str, str]] = []

    async def spent(scope: str, name: str, since: object) -> int:
        asked.append((scope, name))
        return 0

    budget = Budget(10 * COST, "month")
    purses = Purses(per_key=budget, per_user=budget, per_session=Budget(10 * COST, "total"), spent=spent)
    assert await purses.statuses({"user": "ann", "headers": RUN}) == [200]
    assert asked == [("key", "a")]


async def test_states_and_warnings_are_of_keys_and_teams_only(caplog: pytest.LogCaptureFixture) -> None:
    budget = Budget(COST, "day", shadow=True)
    purses = Purses(per_user=budget, per_session=Budget(COST, "total", shadow=True))
    with caplog.at_level(logging.DEBUG):
        assert await purses.statuses(*[{"user": "ann@example.com", "headers": RUN}] * 3) == [200] * 3
    assert purses.plugin.shadowed == {"budget_exceeded": 2}
    assert await purses.plugin.states() == []
    assert "has spent" not in caplog.text
    assert "ann" not in caplog.text


async def test_a_caller_without_a_key_may_have_a_session_too() -> None:
    purses = Purses(per_session=Budget(COST, "total"))
    purses.caller.principal = None
    assert await purses.statuses({"headers": RUN}, {"headers": RUN}) == [200, 403]
