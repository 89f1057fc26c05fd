import pytest

from crplugins.core.principal import AliasTarget
from crplugins.keys.aliases import AliasError, parse_aliases


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        ("gpt-4o-mini", (AliasTarget("gpt-4o-mini"),)),
        ([{"model": "a", "weight": 9}, {"model": "b"}], (AliasTarget("a", 9), AliasTarget("b", 1))),
        ({"model": "a"}, (AliasTarget("a"),)),
        (["a", AliasTarget("b", 0)], (AliasTarget("a"), AliasTarget("b", 0))),
    ],
)
def test_an_alias_is_a_name_or_a_list_of_weighted_ones(words, targets):
    assert parse_aliases({"fast": words}) == {"fast": targets}


def test_a_target_has_a_star_if_its_alias_has_one():
    assert parse_aliases({"old/*": "new/*"}) == {"old/*": (AliasTarget("new/*"),)}


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        ({"fast": ""}, "'fast'"),
        ({"": "x"}, "no name may be empty"),
        ({"fast": 3}, "the alias 'fast' must be a name, or a list of"),
        ({"fast": []}, "the alias 'fast' has no target with a weight above 0"),
        ({"fast": [{"model": "a", "weight": 0}]}, "the alias 'fast' has no target with a weight above 0"),
        ({"fast": [{"model": "a", "weight": -1}]}, "a weight of the alias 'fast' is not a whole number"),
        ({"fast": [{"model": "a", "weight": 0.5}]}, "a weight of the alias 'fast' is not a whole number"),
        ({"fast": [{"model": "a", "weight": True}]}, "a weight of the alias 'fast' is not a whole number"),
        ({"fast": [{"model": "a", "wieght": 1}]}, "unknown key 'wieght'"),
        ({"fast": [{"weight": 1}]}, "the alias 'fast' must be"),
        ({"fast": [{"model": 4}]}, "the alias 'fast' must be"),
        ({"a*b*": "x"}, r"'a\*b\*' has more than one \*"),
        ({"a*": "b*c*"}, r"'b\*c\*' has more than one \*"),
        ({"a": "b*"}, r"the alias 'a' has no \*, so its target 'b\*' cannot have one"),
    ],
)
def test_what_is_wrong_is_said_with_the_name_of_the_alias(aliases, message):
    with pytest.raises(AliasError, match=message) as refused:
        parse_aliases(aliases)
    assert refused.value.alias in aliases
