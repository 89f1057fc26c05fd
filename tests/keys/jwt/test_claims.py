"""Claims in the JSON types in which identity providers send them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.principal import Budget
from crplugins.keys.jwt import read_settings
from crplugins.keys.jwt.claims import key_of
from crplugins.keys.key import LONG_AGO, Key, SecretDigest
from crplugins.keys.source import SecretRefused

SECRET = SecretDigest(b"digest", "…", LONG_AGO)
NEVER = datetime.max.replace(tzinfo=UTC)
EXPIRES = 1_893_456_000  # 2030-01-01


def read(claims: dict[str, Any], **of: Any) -> Key:
    said: dict[str, Any] = {"issuer": "https://login.example.com/", "audience": None, "jwks": "x", "claims": of}
    return key_of({"sub": "ann", "exp": EXPIRES, **claims}, SECRET, read_settings(said))


def principal(claims, **of):
    return read(claims, **of).principal


@pytest.mark.parametrize(
    ("sent", "team"),
    [
        ("search", "search"),
        (["search"], "search"),
        (["search", "everyone"], "search"),
        ([], None),
        ("", None),
        ([""], None),
        (None, None),
        (4711, "4711"),
        (4711.0, "4711"),
        ([4711], "4711"),
    ],
)
def test_a_team_is_a_text_a_number_or_the_first_of_a_list(sent, team):
    assert principal({"groups": sent}, team="groups").team == team


@pytest.mark.parametrize(
    ("sent", "key_id"), [(12345, "12345"), (12345.0, "12345"), (["ann"], "ann"), (10**30, "1" + "0" * 30)]
)
def test_a_subject_may_be_a_number_or_stand_alone_in_a_list(sent, key_id):
    assert read({"sub": sent}).id == key_id


@pytest.mark.parametrize("sent", [60, 60.0, "60", " 60 ", "60.0", [60], ["60"]])
def test_a_number_counts_by_its_value(sent):
    limits = principal({"rpm": sent}, limits={"requests_per_minute": "rpm"}).limits
    assert limits.requests_per_minute == 60
    whole = principal({"limits": {"requests_per_minute": sent}}, limits="limits").limits
    assert whole.requests_per_minute == 60


@pytest.mark.parametrize("sent", [True, "many", 60.5, [60, 70], {"a": 60}, 0, -1, "", float("nan"), float("inf")])
def test_what_is_no_number_is_refused(sent):
    with pytest.raises(SecretRefused):
        read({"rpm": sent}, limits={"requests_per_minute": "rpm"})


@pytest.mark.parametrize("sent", [12.5, "12.5", [12.5]])
def test_a_budget_may_be_text_too(sent):
    assert principal({"b": {"usd": sent, "period": "day"}}, budget="b").budget == Budget(12_500_000, "day")
    assert principal({"usd": sent, "p": ["day"]}, budget={"usd": "usd", "period": "p"}).budget.period == "day"


@pytest.mark.parametrize(
    ("sent", "models"),
    [
        ("gpt-4o* fast", ("gpt-4o*", "fast")),
        ("gpt-4o*, fast", ("gpt-4o*", "fast")),
        (["gpt-4o*", "fast"], ("gpt-4o*", "fast")),
        (["gpt-4o* fast"], ("gpt-4o*", "fast")),
        ([4], ("4",)),
        ([], ()),
        ("", ()),
        (None, None),
    ],
)
def test_models_are_a_scope_or_a_list_and_none_is_not_all(sent, models):
    assert principal({"scope": sent}, models="scope").models == models


@pytest.mark.parametrize("sent", [{"a": 1}, [["x"]], [None], 1.5])
def test_models_that_are_no_names_are_refused(sent):
    with pytest.raises(SecretRefused):
        read({"scope": sent}, models="scope")


def test_tags_become_texts():
    tags = {"cost": 7, "eu": True, "roles": ["a", "b"], "one": ["x"], "none": None}
    assert principal({"t": tags}, tags="t").tags == {"cost": "7", "eu": "true", "roles": "a,b", "one": "x"}


@pytest.mark.parametrize(
    ("claims", "path"),
    [
        ({"org": {"unit": {"team": "search"}}}, "org.unit.team"),
        ({"org.unit.team": "search", "org": {"unit": {"team": "no"}}}, "org.unit.team"),
        ({"resource": {"my.client": {"team": "search"}}}, "resource.my.client.team"),
        ({"a": {"b": 1}, "a.b": {"c": "search"}}, "a.b.c"),
        ({"https://example.com/claims": {"team": ["search"]}}, "https://example.com/claims.team"),
        ({"cognito:groups": ["no", "search"]}, "cognito:groups.1"),
        ({"groups": [{"name": "search"}]}, "groups.0.name"),
    ],
)
def test_a_path_leads_inwards_also_through_names_with_dots_and_lists(claims, path):
    assert principal(claims, team=path).team == "search"


@pytest.mark.parametrize(
    "path", ["org.team.name", "groups.2", "groups.99999999999999", "groups.x", "sub.0", "none.at.all"]
)
def test_a_path_that_leads_nowhere_is_no_claim(path):
    assert principal({"org": {"team": "x"}, "groups": ["a"]}, team=path).team is None


@pytest.mark.parametrize(
    ("claims", "expires", "not_before"),
    [
        ({"exp": 253_402_300_799}, NEVER, None),
        ({"exp": 253_402_300_799.0, "nbf": -62_135_596_800}, NEVER, datetime.min.replace(tzinfo=UTC)),
        ({"exp": f"{EXPIRES}"}, datetime(2030, 1, 1, 0, 0, 30, tzinfo=UTC), None),
        ({"exp": EXPIRES + 0.5}, datetime(2030, 1, 1, 0, 0, 30, 500_000, tzinfo=UTC), None),
    ],
)
def test_the_ends_of_time_are_never(claims, expires, not_before):
    key = read(claims)
    assert (key.expires, key.not_before) == (expires, not_before)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "usd", "0"]), inner, max_size=2),
    max_leaves=6,
)
EVERYTHING = {
    "id": "id",
    "team": "team.a",
    "owner": "owner",
    "models": "models",
    "tags": "tags",
    "limits": "limits",
    "budget": "budget",
    "aliases": "aliases",
    "on_disconnect": "leaves",
    "priority": "rank",
}
NAMES = ["id", "team", "owner", "models", "tags", "limits", "budget", "aliases", "leaves", "rank", "exp", "nbf", "iat"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON))
def test_whatever_a_token_says_it_is_a_key_or_refused(claims):
    try:
        key = read(claims, **EVERYTHING)
    except SecretRefused:
        return
    assert key.id
    assert key.expires is not None
    assert key.expires - datetime.now(UTC) > timedelta.min


@pytest.mark.parametrize("name", ["a" * 501, "ä" * 251, "ann\0", "an\nn", "\ud800"])
@pytest.mark.parametrize("claim", ["sub", "team"])
def test_a_name_that_a_ledger_would_take_for_anothers_is_none(claim, name):
    with pytest.raises(SecretRefused):
        read({claim: name}, team="team")
    assert principal({claim: "ä" * 250}, team="team")
