import pytest

from crplugins.keys.aliases import parse_aliases
from crplugins.plugins.aliases.table import LONGEST_CHAIN, AliasChainTooLong, AliasCycle, AliasTable, check_chains
from tests.steps import lines_of


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
def test_a_cycle_is_refused_and_named(aliases, cycle):
    with pytest.raises(AliasCycle, match=cycle):
        AliasTable.parse(aliases)


def test_a_cycle_through_a_teams_and_the_gateways_aliases_is_refused():
    with pytest.raises(AliasCycle, match="'b' -> 'a' -> 'b'"):
        AliasTable.parse({"a": "b"}, {"t": {"b": "a"}})


def test_a_cycle_of_a_keys_own_aliases_is_found_beforehand_and_on_the_way():
    view = AliasTable.parse({"a": "b"}).view("k", None, parse_aliases({"b": "a"}))
    with pytest.raises(AliasCycle, match="cycle: 'b' -> 'a' -> 'b'"):
        check_chains(view)
    with pytest.raises(AliasCycle, match="cycle: 'a' -> 'b' -> 'a'"):
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


def chain_of(length):
    """So many aliases that lead to one another, and the last to `mini`."""
    return {f"c{number}": f"c{number + 1}" for number in range(length - 1)} | {f"c{length - 1}": "mini"}


def starred_chain_of(length):
    return {f"c{number}-*": f"c{number + 1}-*" for number in range(length)}


@pytest.mark.parametrize("chain", [chain_of, starred_chain_of])
def test_a_chain_may_have_many_aliases_and_one_that_never_seems_to_end_is_refused_and_named(chain):
    assert len(AliasTable.parse(chain(LONGEST_CHAIN)).gateway.chain("c0-x" if chain is starred_chain_of else "c0", max))
    for length in (LONGEST_CHAIN + 1, 1_500, 4_000):
        with pytest.raises(AliasChainTooLong, match=r"'c\d+(-\*)?' leads through more than 256 aliases"):
            AliasTable.parse(chain(length))


def test_the_order_of_the_aliases_does_not_hide_a_long_chain():
    aliases = chain_of(1_500)
    for ordered in (dict(reversed(aliases.items())), dict(sorted(aliases.items()))):
        with pytest.raises(AliasChainTooLong):
            AliasTable.parse(ordered)


def test_a_long_chain_that_a_team_or_a_key_adds_to_is_found_too():
    shared = chain_of(200)
    with pytest.raises(AliasChainTooLong):
        AliasTable.parse(shared, {"t": {f"t{number}": f"t{number + 1}" for number in range(99)} | {"t99": "c0"}})
    own = parse_aliases({f"k{number}": f"k{number + 1}" for number in range(99)} | {"k99": "c0"})
    view = AliasTable.parse(shared).view("k", None, own)
    for checked in (lambda: check_chains(view), lambda: view.chain("k0", lambda entry: 0)):
        with pytest.raises(AliasChainTooLong, match="'k0'"):
            checked()


@pytest.mark.parametrize("form", ["vendor-{}/*", "*-{}", "a{}*z{}", "plain-{}"])
def test_a_table_of_thousands_of_aliases_is_checked_in_linear_time(form):
    def table(size):
        return {
            form.format(number, number): form.format(f"x{number}", f"x{number}") for number in range(1000, 1000 + size)
        }

    few, many = (lines_of(lambda size=size: AliasTable.parse(table(size))) for size in (100, 1_000))
    assert many < 15 * few
