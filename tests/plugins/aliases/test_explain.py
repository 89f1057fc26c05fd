from crplugins.core.principal import Principal
from crplugins.keys.aliases import parse_aliases
from crplugins.plugins.aliases.explain import explain
from crplugins.plugins.aliases.table import AliasTable

TABLE = AliasTable.parse(
    {"fast": "mini", "gpt-3*": "fast", "canary": [{"model": "mini", "weight": 9}, {"model": "new"}]},
    {"search": {"fast": "big"}},
)


def lines(principal, name, **options):
    return [(step.kind, step.text, step.name, step.ok) for step in explain(principal, name, TABLE, **options)]


def test_each_step_says_which_map_and_which_pattern():
    assert lines(Principal("k", team="search", models=("big",)), "gpt-3.5-turbo", served=["mini", "big"]) == [
        ("allow_list", "the key 'k' may call 'big', which 'gpt-3.5-turbo' resolves to", "gpt-3.5-turbo", True),
        ("alias", "'gpt-3.5-turbo' is matched by the pattern 'gpt-3*' of the gateway: 'fast'", "fast", True),
        ("alias", "'fast' is an alias of team search: 'big'", "big", True),
        ("target", "'big' is served", "big", True),
    ]


def test_a_weighted_choice_says_what_it_sticks_to():
    shares = "'canary' is an alias of the gateway: one of 'mini' (9 of 10), 'new' (1 of 10)"
    steps = lines(Principal("k"), "canary")
    assert steps[0] == ("allow_list", "the key 'k' may call every model", "canary", True)
    assert steps[1] == ("alias", shares, "canary", True)
    assert steps[2][:2] == ("weights", f"'{steps[3][2]}', always the same: the hash of the key 'k' picks it")
    assert "the hash of the request's user 'u' and the key picks it" in lines(Principal("k"), "canary", user="u")[2][1]
    assert lines(None, "canary")[2][1] == "'mini', or another each time: no key and no user to be sticky for"


def test_a_refused_name_ends_at_the_allow_list_and_tells_no_target():
    assert lines(Principal("k", models=("new",)), "fast") == [
        (
            "allow_list",
            "the key 'k' may not call 'fast': neither it nor what it resolves to is in its models",
            "fast",
            False,
        ),
    ]


def test_a_name_that_nobody_serves_ends_at_the_target():
    assert lines(None, "nope", served=["mini"]) == [
        ("allow_list", "without a key no allow-list applies", "nope", True),
        ("target", "'nope' is not served: 404 model_not_found", "nope", False),
    ]


def test_a_name_without_an_alias_goes_on_as_it_is():
    assert lines(None, "mini")[-1] == ("target", "the request goes on as 'mini'", "mini", True)
    assert lines(None, "mini", served=["m*"])[-1] == ("target", "'mini' is served under this very name", "mini", True)


def test_a_circle_of_a_keys_own_aliases_is_named():
    principal = Principal("k", aliases=parse_aliases({"mini": "fast"}))
    assert lines(principal, "fast") == [
        ("alias", "aliases lead in a circle: 'fast' -> 'mini' -> 'fast'", "fast", False),
    ]
