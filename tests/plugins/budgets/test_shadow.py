"""Budgets in shadow mode: they refuse nothing, and say what they would have refused."""

import logging
from typing import Any

import pytest

from crplugins.core.principal import Budget
from crplugins.core.usage import Price, pico_usd
from crplugins.plugins.budgets.plugin import Budgets
from tests.core.doubles import App
from tests.plugins.limits_setup import Caller, Ground, ask, using

PRICE = Price(pico_usd("0.000010"), 0)
PRICES: Any = {"m": PRICE, "free": Price(0, 0)}.get
OWN = Budget(1000, "month", shadow=True)


async def spend(plugin: Budgets, caller: Caller, times: int, model: str = "m") -> list[int]:
    return [(await ask(using(100, 0), [caller, plugin], max_tokens=1, model=model)).status for _ in range(times)]


@pytest.mark.parametrize("whole", [False, True])
async def test_a_shadow_lets_pass_what_it_counts_and_logs(whole: bool, caplog: pytest.LogCaptureFixture) -> None:
    plugin = Budgets(prices=PRICES, shadow=whole, store=Ground().reservations)
    caller = Caller("a", budget=Budget(1000, "month", shadow=not whole))
    with caplog.at_level(logging.INFO, "crplugins.budgets"):
        assert await spend(plugin, caller, 3) == [200] * 3
    assert plugin.shadowed == {"budget_exceeded": 2}
    assert [record.getMessage().partition(" would have been ")[2] for record in caplog.records][-1].startswith(
        "refused: budget_exceeded key/a/usd/month/"
    )


async def test_what_is_spent_beyond_a_shadow_is_counted_in_it() -> None:
    plugin = Budgets(prices=PRICES, store=Ground().reservations)
    caller = Caller("a", budget=OWN)
    await spend(plugin, caller, 3)
    assert caller.principal is not None
    [state] = await plugin.states_of(caller.principal)
    assert (state.spent, state.amount, state.shadow) == (3000, 1000, True)


async def test_beside_a_shadow_other_budgets_hold_and_what_they_refuse_is_not_counted() -> None:
    plugin = Budgets(None, {"t": Budget(2000, "month")}, prices=PRICES, store=Ground().reservations)
    assert await spend(plugin, Caller("a", budget=OWN, team="t"), 4) == [200, 200, 429, 429]
    assert plugin.shadowed == {"budget_exceeded": 1}


async def test_a_request_that_two_shadows_would_refuse_is_counted_once() -> None:
    teams = {"t": Budget(500, "month", shadow=True)}
    plugin = Budgets(None, teams, prices=PRICES, store=Ground().reservations)
    assert await spend(plugin, Caller("a", budget=OWN, team="t"), 2) == [200, 200]
    assert plugin.shadowed == {"budget_exceeded": 1}


async def test_a_free_model_is_nothing_that_a_shadow_would_refuse() -> None:
    plugin = Budgets(prices=PRICES, store=Ground().reservations)
    caller = Caller("a", budget=OWN)
    await spend(plugin, caller, 2)
    assert await spend(plugin, caller, 2, model="free") == [200, 200]
    assert plugin.shadowed == {"budget_exceeded": 1}


async def test_a_model_without_a_price_passes_a_shadow_that_would_have_refused_it() -> None:
    plugin = Budgets(None, {"t": Budget(2000, "month")}, prices=PRICES, store=Ground().reservations)
    assert await spend(plugin, Caller("a", budget=OWN), 2, model="new") == [200, 200]
    assert plugin.shadowed == {"invalid_request": 2}
    assert (await ask(App(), [Caller("a", budget=OWN, team="t"), plugin], model="new")).status == 400
    allowing = Budgets(prices=PRICES, unknown_price="allow", store=Ground().reservations)
    assert await spend(allowing, Caller("a", budget=OWN), 1, model="new") == [200]
    assert allowing.shadowed == {}
