"""Alias tables of any shape: no cycle survives, the longest match wins, access and the list agree."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from crplugins.core.principal import AliasTarget, Principal
from crplugins.keys.aliases import parse_aliases
from crplugins.plugins.aliases.access import may_call, visible_models
from crplugins.plugins.aliases.explain import explain
from crplugins.plugins.aliases.table import AliasCycle, AliasMap, AliasTable, check_chains

NAMES = st.text("ab", min_size=1, max_size=3)
PATTERNS = st.builds(lambda name, at: name[:at] + "*" + name[at:], st.text("ab", max_size=3), st.integers(0, 3))


def targets(alias):
    model = NAMES | PATTERNS if "*" in alias else NAMES
    return st.lists(st.builds(AliasTarget, model, st.integers(0, 3)), min_size=1, max_size=3).filter(
        lambda chosen: any(target.weight for target in chosen)
    )


@st.composite
def maps(draw, size=5):
    aliases = draw(st.lists(NAMES | PATTERNS, max_size=size, unique=True))
    return {alias: draw(targets(alias)) for alias in aliases}


def table_of(aliases, teams=None):
    try:
        return AliasTable.parse(aliases, teams)
    except AliasCycle:
        assume(False)


@given(maps(), maps(3), NAMES, st.lists(st.integers(0, 2), min_size=12, max_size=12))
@example({"a": ["b"], "b*": ["a*"]}, {}, "a", [0] * 12)
def test_no_cycle_survives_construction_whatever_the_weights_pick(aliases, team, name, picks):
    table = table_of(aliases, {"t": team})
    for view in (table.gateway, table.view(team="t")):
        turns = iter(picks)
        links = view.chain(name, lambda entry, turns=turns: next(turns) % len(entry.models))
        assert len({id(link.entry) for link in links}) == len(links)


@given(maps(3), maps(3), NAMES)
def test_a_chain_that_meets_a_cycle_is_one_that_the_check_beforehand_refuses(aliases, own, name):
    view = table_of(aliases).view("k", None, parse_aliases(own))
    try:
        view.chain(name, lambda entry: 0)
    except AliasCycle:
        try:
            check_chains(view)
        except AliasCycle:
            return
        raise AssertionError("the check let it pass") from None


@given(maps(8), NAMES)
def test_the_name_itself_wins_else_the_longest_pattern_that_fits(aliases, name):
    def fits(pattern):
        before, _, after = pattern.partition("*")
        return "*" in pattern and any(before + name[i:j] + after == name for i in range(4) for j in range(i, 4))

    found = AliasMap.of("o", parse_aliases(aliases)).find(name)
    if name in aliases:
        assert found.pattern.text == name
    elif matching := [pattern for pattern in aliases if fits(pattern)]:
        assert found.pattern.text == max(matching, key=lambda pattern: (len(pattern), pattern.index("*")))
    else:
        assert found is None


@given(
    maps(),
    maps(3),
    maps(2),
    st.none() | st.lists(NAMES | PATTERNS, max_size=3),
    st.lists(NAMES | PATTERNS, max_size=4),
    NAMES,
)
def test_what_is_listed_may_be_called_and_no_way_of_a_canary_leads_out_of_the_list(
    aliases, team, own, models, served, name
):
    table = table_of(aliases, {"t": team})
    principal = Principal("k", team="t", models=None if models is None else tuple(models), aliases=parse_aliases(own))
    try:
        check_chains(table.view("k", "t", principal.aliases))
    except AliasCycle:
        assume(False)
    listed = visible_models(principal, table, served)
    assert len(listed) == len(set(listed))
    assert not any("*" in name for name in listed)
    for each in listed:
        assert may_call(principal, each, table)
        assert all(step.ok for step in explain(principal, each, table))
    assert explain(principal, name, table)[0].ok is may_call(principal, name, table)
