import pytest

from crplugins.core.principal import Principal
from crplugins.keys.aliases import parse_aliases
from crplugins.plugins.aliases.access import may_call, visible_models
from crplugins.plugins.aliases.table import AliasTable

TABLE = AliasTable.parse(
    {
        "fast": "mini", "quick": "fast", "gpt-3*": "mini", "canary": [{"model": "mini", "weight": 9}, {"model": "new"}],
        "drained": [{"model": "mini"}, {"model": "new", "weight": 0}], "lost": "gone", "open": "open/x",
    },
    {"search": {"deep": "big"}},
)  # fmt: skip
SERVED = ["mini", "big", "new", "open/*"]


def key(*models, **options):
    return Principal("k", models=models, **options)


@pytest.mark.parametrize(
    ("models", "name", "may"),
    [
        (["mini"], "mini", True),
        (["mini"], "big", False),
        (["mini"], "fast", True),
        (["fast"], "fast", True),
        (["fast"], "mini", False),
        (["fast"], "quick", True),
        (["mini"], "quick", True),
        (["m*"], "quick", True),
        (["*"], "anything", True),
        ([], "mini", False),
        (["mini"], "gpt-3.5", True),
        (["gpt-3.5"], "gpt-3.5", True),
        (["gpt-3.5"], "gpt-3", False),
        (["mini"], "canary", False),
        (["mini", "new"], "canary", True),
        (["canary"], "canary", True),
        (["mini"], "drained", True),
    ],
)
def test_a_key_may_call_a_name_if_it_or_what_it_resolves_to_is_in_its_models(models, name, may):
    assert may_call(key(*models), name, TABLE) is may


def test_a_key_without_a_list_and_a_request_without_a_key_may_call_everything():
    assert may_call(Principal("k"), "anything", TABLE)
    assert may_call(None, "anything", TABLE)


def test_without_a_table_only_the_list_counts():
    assert may_call(key("mini"), "mini")
    assert not may_call(key("mini"), "fast")


@pytest.mark.parametrize(
    ("principal", "names"),
    [
        (None, ["mini", "big", "new", "fast", "quick", "canary", "drained", "open"]),
        (Principal("k"), ["mini", "big", "new", "fast", "quick", "canary", "drained", "open"]),
        (Principal("k", team="search"), ["mini", "big", "new", "fast", "quick", "canary", "drained", "open", "deep"]),
        (key("mini"), ["mini", "fast", "quick", "drained"]),
        (key("quick", "new"), ["new", "quick"]),
        (key("b*", team="search"), ["big", "deep"]),
        (key("mini", aliases=parse_aliases({"mine": "mini", "big": "mini", "x*": "mini"})),
         ["mini", "big", "fast", "quick", "drained", "mine"]),
        (key(), []),
    ],
)  # fmt: skip
def test_the_list_shows_what_the_key_may_call_and_would_get_an_answer_from(principal, names):
    assert visible_models(principal, TABLE, SERVED) == names
    assert all(may_call(principal, name, TABLE) for name in names)


def test_a_name_is_listed_once_also_if_it_is_served_and_an_alias():
    table = AliasTable.parse({"mini": [{"model": "mini", "weight": 9}, {"model": "new"}]})
    assert visible_models(None, table, ["mini", "new", "mini"]) == ["mini", "new"]


def test_a_key_whose_aliases_form_a_cycle_does_not_see_them():
    principal = Principal("k", aliases=parse_aliases({"a": "b", "b": "a", "c": "mini"}))
    assert visible_models(principal, AliasTable.parse({}), ["mini"]) == ["mini", "c"]
    assert not may_call(key("mini", aliases=principal.aliases), "a", AliasTable.parse({}))


def test_a_chain_of_a_keys_own_that_never_seems_to_end_is_neither_permitted_nor_listed():
    own = parse_aliases({f"c{number}": f"c{number + 1}" for number in range(1_500)} | {"c1500": "mini"})
    principal = key("mini", aliases=own)
    assert not may_call(principal, "c0", AliasTable.parse({}))
    listed = visible_models(principal, AliasTable.parse({}), ["mini"])
    assert {"mini", "c1500"} <= set(listed)
    assert "c0" not in listed


def test_a_chain_of_canaries_is_looked_at_once_and_not_once_for_each_way_through_it():
    names = [f"c{number}" for number in range(100)]
    aliases = {
        name: [{"model": after}, {"model": after}] for name, after in zip(names, [*names[1:], "mini"], strict=True)
    }
    table = AliasTable.parse(aliases)
    assert may_call(key("mini"), "c0", table)
    assert not may_call(key("big"), "c0", table)
    assert "c0" in visible_models(key("mini"), table, ["mini"])
