import pytest

from crplugins.core.principal import Principal
from crplugins.plugins.aliases.table import caller_of, pick


def shares(weights, callers=20_000, alias="canary"):
    picks = [pick(alias, weights, f"key-{number}") for number in range(callers)]
    return [picks.count(index) / callers for index in range(len(weights))]


def test_a_caller_always_gets_the_same_target_in_every_process():
    assert [pick("canary", (1, 1), f"key-{number}") for number in range(12)] == [1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("weights", [(9, 1), (1, 1, 1), (0, 5, 0), (997, 3), (1, 0, 3)])
def test_callers_are_spread_by_the_weights(weights):
    for share, weight in zip(shares(weights), weights, strict=True):
        assert share == pytest.approx(weight / sum(weights), abs=0.015)


def test_a_target_without_weight_is_never_picked():
    assert shares((0, 5, 0))[1] == 1.0


def test_a_change_of_weights_moves_no_more_callers_than_it_must():
    callers = [f"key-{number}" for number in range(5000)]
    moved = [c for c in callers if pick("canary", (9, 1), c) != pick("canary", (80, 20), c)]
    assert len(moved) / len(callers) == pytest.approx(0.1, abs=0.02)
    assert all(pick("canary", (9, 1), c) == pick("canary", (900, 100), c) for c in callers)


def test_two_canaries_do_not_pick_the_same_callers():
    callers = [f"key-{number}" for number in range(5000)]
    both = [c for c in callers if pick("a", (1, 1), c) == pick("b", (1, 1), c)]
    assert len(both) / len(callers) == pytest.approx(0.5, abs=0.03)


def test_the_caller_is_the_keys_user_if_the_request_names_one_else_the_key():
    key = Principal("k")
    callers = [caller_of(key, None), caller_of(key, "u"), caller_of(None, "u"), caller_of(Principal("k2"), "u")]
    assert len(set(callers)) == 4
    assert caller_of(None, None) is None
    assert caller_of(key, "") == caller_of(key, None)


def test_no_weight_at_all_is_refused():
    with pytest.raises(ValueError, match="the alias 'x' has no target"):
        pick("x", (0,), "k")
