"""Lists of models in shadow mode: they refuse nothing, and say what they would have refused."""

import logging

import pytest

from crplugins.core.principal import AliasTarget, Principal
from crplugins.plugins.aliases.access import may_call, may_reach, visible_models
from crplugins.plugins.aliases.explain import explain
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.aliases.table import AliasTable
from tests.core.doubles import App
from tests.plugins.limits_setup import HI, Caller, ask, send, using

TABLE = AliasTable.parse({"fast": "small", "old-*": "fast", "both": [{"model": "small"}, {"model": "large"}]})


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("status", "reason"), [(404, "unknown_model"), (403, "forbidden_model")])
async def test_a_shadow_lets_pass_what_it_counts_and_logs(
    whole: bool, status: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = ModelAliases(aliases={"fast": "small"}, hidden_status=status, shadow=whole)  # type: ignore[arg-type]
    caller = Caller("a", models=("fast",), models_shadow=not whole)
    with caplog.at_level(logging.INFO, "crplugins.plugins"):
        for model in ("fast", "small", "la\nrge"):
            assert (await ask(using(1, 1), [caller, plugin], model=model)).status == 200
        assert (await send({"messages": HI}, using(1, 1), [caller, plugin])).status == 200
    assert plugin.shadowed == {reason: 2, "invalid_request": 1}
    assert [record.getMessage().partition(" would have been ")[2] for record in caplog.records] == [
        "refused: key a, model 'small'",
        "refused: key a, model 'la\\nrge'",
        "refused: key a, model ''",
    ]


async def test_a_list_that_is_no_shadow_still_holds() -> None:
    plugin = ModelAliases()
    assert (await ask(App(), [Caller("a", models=("fast",)), plugin], model="large")).status == 404
    assert plugin.shadowed == {}


def test_a_shadow_hides_no_model() -> None:
    served, shadow = ["small", "large"], Principal("a", models=("fast",), models_shadow=True)
    held = Principal("a", models=("fast",))
    assert visible_models(held, TABLE, served) == ["fast"]
    assert visible_models(shadow, TABLE, served) == visible_models(held, TABLE, served, shadow=True)
    assert visible_models(shadow, TABLE, served) == ["small", "large", "fast", "both"]
    assert may_call(shadow, "large", TABLE)


@pytest.mark.parametrize("whole", [False, True])
def test_an_explanation_says_what_a_shadow_lets_through(whole: bool) -> None:
    principal = Principal("a", models=("fast",), models_shadow=not whole)
    first = explain(principal, "large", TABLE, shadow=whole)[0]
    assert first.ok
    assert first.text.endswith("in its models (shadow)")


@pytest.mark.parametrize(
    ("models", "reached"),
    [
        (("small",), {"small": True, "large": False}),
        (("fast",), {"small": True, "large": False}),
        (("old-2",), {"small": True, "large": False}),
        (("both",), {"small": True, "large": True}),
        (("l*",), {"small": False, "large": True, "openai/*": False}),
        (("openai/gpt-*",), {"openai/*": True, "small": False}),
        ((), {"small": False}),
        (None, {"anything": True}),
    ],
)
def test_which_models_a_key_may_reach(models: tuple[str, ...] | None, reached: dict[str, bool]) -> None:
    key = Principal("a", models=models)
    assert {model: may_reach(key, model, TABLE) for model in reached} == reached


def test_a_model_is_reached_by_an_alias_of_the_key_too() -> None:
    key = Principal("a", models=("mine",), aliases={"mine": (AliasTarget("large"),)})
    assert may_reach(key, "large", TABLE)
