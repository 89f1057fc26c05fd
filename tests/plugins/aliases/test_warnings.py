import pytest

from crplugins.plugins.aliases.explain import alias_warnings
from crplugins.plugins.aliases.table import AliasTable


@pytest.mark.parametrize(
    ("aliases", "teams", "served", "warnings"),
    [
        ({"fast": "mini", "gpt-3*": "mini"}, {}, ["mini", "big"], []),
        ({"big": "mini"}, {}, ["mini", "big"], ["the alias 'big' of the gateway hides the served model 'big'"]),
        (
            {"m*": "mini"}, {}, ["mini", "medium", "more"],
            ["the alias 'm*' of the gateway hides the served models 'medium', 'more'"],
        ),
        ({"big": [{"model": "big", "weight": 9}, {"model": "new"}]}, {}, ["big", "new"], []),
        ({"fast": "gone"}, {}, ["mini"], ["the alias 'fast' of the gateway leads to 'gone', which is not served"]),
        ({"quick": "fast", "fast": "mini"}, {}, ["mini"], []),
        ({"fast": "openai/x"}, {}, ["openai/*"], []),
        ({}, {"t": {"big": "mini"}}, ["mini", "big"], ["the alias 'big' of team t hides the served model 'big'"]),
        (
            {"fast": "mini", "f*": "mini"}, {"t": {"*": "big", "fast": "big"}}, None,
            ["the alias '*' of team t never lets 'fast', 'f*' of the gateway match"],
        ),
        ({"big": "gone"}, {}, None, []),
    ],
)  # fmt: skip
def test_an_alias_that_hides_another_name_or_leads_nowhere_is_warned_about(aliases, teams, served, warnings):
    assert alias_warnings(AliasTable.parse(aliases, teams), served) == warnings
