import pytest

from crplugins.keys.aliases import parse_aliases
from crplugins.plugins.aliases.table import AliasCycle, AliasTable, refuse_cycles


def names(table, name, *, index=0, **view):
    links = table.view(**view).chain(name, lambda entry: index)
    return [name, *(link.target for link in links)]


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("fast", ["fast", "mini"]),
        ("gpt-3.5-turbo", ["gpt-3.5-turbo", "mini"]),
        ("gpt-3.5", ["gpt-3.5", "exact"]),
        ("gpt-9", ["gpt-9", "big"]),
        ("quick", ["quick", "fast", "mini"]),
        ("old/x", ["old/x", "new/x"]),
        ("other", ["other"]),
    ],
)
def test_the_name_itself_comes_before_patterns_and_the_longest_pattern_wins(name, chain):
    aliases = {
        "fast": "mini",
        "gpt-*": "big",
        "gpt-3.5*": "mini",
        "gpt-3.5": "exact",
        "quick": "fast",
        "old/*": "new/*",
    }
    assert names(AliasTable.parse(aliases), name) == chain


def test_a_keys_aliases_come_before_its_teams_and_those_before_the_gateways():
    table = AliasTable.parse({"a": "gateway", "b": "gateway", "c": "gateway"}, {"t": {"b*": "team", "c": "team"}})
    own = parse_aliases({"c*": "key"})
    assert names(table, "c", team="t", aliases=own)[-1] == "key"
    assert names(table, "b", team="t", aliases=own)[-1] == "team"
    assert names(table, "a", team="t", aliases=own)[-1] == "gateway"
    assert names(table, "c", team="unknown")[-1] == "gateway"
    assert names(table, "c")[-1] == "gateway"


def test_each_step_of_a_chain_asks_all_maps_again():
    table = AliasTable.parse({"fast": "small"}, {"t": {"small": "tiny"}})
    assert names(table, "fast", team="t") == ["fast", "small", "tiny"]


def test_an_alias_that_would_match_its_own_target_ends_there():
    table = AliasTable.parse({"gpt-4*": "gpt-4o", "*": "openai/*", "next": [{"model": "next"}, {"model": "x"}]})
    assert names(table, "gpt-4-turbo") == ["gpt-4-turbo", "gpt-4o"]
    assert names(table, "claude") == ["claude", "openai/claude"]
    assert names(table, "next") == ["next", "next"]


def test_a_key_opts_out_of_an_alias_by_naming_itself():
    assert names(AliasTable.parse({"fast": "mini"}), "fast", aliases=parse_aliases({"fast": "fast"})) == [
        "fast",
        "fast",
    ]


@pytest.mark.parametrize(
    ("aliases", "cycle"),
    [
        ({"a": "b", "b": "a"}, "'a' -> 'b' -> 'a'"),
        ({"start": "a", "a": "b", "b": "c", "c": "a"}, "'a' -> 'b' -> 'c' -> 'a'"),
        ({"*": "fast", "fast": "mini"}, r"'fast' -> '\*' -> 'fast'"),
        ({"a": [{"model": "x"}, {"model": "b"}], "b": "a"}, "'a' -> 'b' -> 'a'"),
        ({"a*": "b*x", "b*": "a*x"}, r"'a\*' -> 'b\*' -> 'a\*'"),
    ],
)
def test_a_circle_is_refused_and_named(aliases, cycle):
    with pytest.raises(AliasCycle, match=cycle):
        AliasTable.parse(aliases)


def test_a_circle_through_a_teams_and_the_gateways_aliases_is_refused():
    with pytest.raises(AliasCycle, match="'b' -> 'a' -> 'b'"):
        AliasTable.parse({"a": "b"}, {"t": {"b": "a"}})


def test_a_circle_of_a_keys_own_aliases_is_found_beforehand_and_on_the_way():
    view = AliasTable.parse({"a": "b"}).view("k", None, parse_aliases({"b": "a"}))
    with pytest.raises(AliasCycle, match="circle: 'b' -> 'a' -> 'b'"):
        refuse_cycles(view)
    with pytest.raises(AliasCycle, match="circle: 'a' -> 'b' -> 'a'"):
        view.chain("a", lambda entry: 0)
    assert view.chain("c", lambda entry: 0) == []


def test_a_table_cannot_be_changed():
    table = AliasTable.parse({"a": "b"})
    with pytest.raises(AttributeError):
        table.gateway = None  # type: ignore[misc]
    words = {"a": "b"}
    table = AliasTable.parse(words)
    words["a"] = "c"
    assert names(table, "a")[-1] == "b"
