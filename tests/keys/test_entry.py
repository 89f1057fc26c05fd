"""Entries: what a configuration says of a key, read and written."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.principal import AliasTarget, Budget, Limits, Principal
from crplugins.keys.entry import Reading, key_to_dict, read_keys
from crplugins.keys.file.entry import FileEntry
from crplugins.keys.key import Key, SecretDigest
from crplugins.keys.policy import LIMIT_KEYS
from crplugins.keys.secrets import Digester, sha256
from crplugins.settings.errors import ConfigError

SECRET = "sk-secret-0123456789abcdef"


def read(**entry):
    return read_keys([{"id": "a", "secret": SECRET} | entry], Reading(Digester()))[0]


def test_all_there_is_to_say():
    key = read(
        team="search",
        owner="ann",
        tags={"env": "prod"},
        models=["gpt-4o*"],
        aliases={"fast": "a", "canary": [{"model": "a", "weight": 9}, {"model": "b"}], "gpt-3.5*": "mini*"},
        limits={"requests_per_minute": 60},
        budget={"usd": 12.5, "period": "month"},
        not_before="2026-01-01T00:00:00+02:00",
        expires="2027-01-01",
        disabled=True,
    )
    assert key.principal.tags == {"env": "prod"}
    assert key.principal.aliases == {
        "fast": (AliasTarget("a"),),
        "canary": (AliasTarget("a", 9), AliasTarget("b")),
        "gpt-3.5*": (AliasTarget("mini*"),),
    }
    assert (key.principal.limits, key.principal.budget) == (Limits(requests_per_minute=60), Budget(12_500_000, "month"))
    assert key.not_before == datetime(2025, 12, 31, 22, tzinfo=UTC)
    assert (key.expires, key.disabled) == (datetime(2027, 1, 1, tzinfo=UTC), True)


@pytest.mark.parametrize(
    "moment",
    [
        "2027-01-01",
        "2027-01-01T00:00",
        "2027-01-01T00:00:00Z",
        "2027-01-01T01:00:00+01:00",
        date(2027, 1, 1),
        datetime(2027, 1, 1),  # noqa: DTZ001
        datetime(2027, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_times_of_every_form_are_instants(moment):
    assert read(expires=moment).expires == datetime(2027, 1, 1, tzinfo=UTC)


def test_the_ends_of_the_calendar_are_never_in_whatever_zone():
    """.NET's least and greatest dates, of a machine that is not in UTC."""
    key = read(not_before="0001-01-01T00:00:00+05:30", expires="9999-12-31T23:59:59.999999-03:30")
    assert (key.not_before, key.expires) == (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize(("usd", "micro"), [(0.1, 100_000), ("0.30", 300_000), (50, 50_000_000), (0, 0), (1e-6, 1)])
def test_money_is_exact(usd, micro):
    assert read(budget={"usd": usd, "period": "day"}).principal.budget.micro_usd == micro


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"id": None}, "keys[0].id: is missing"),
        ({"id": ""}, "keys[0].id: must not be empty"),
        ({"id": 7}, "keys[0].id: must be text, not a number"),
        ({"secret": None}, "keys[0]: needs a secret or a hash, and not both"),
        ({"hash": "sha256:" + "0" * 64}, "keys[0]: needs a secret or a hash, and not both"),
        ({"secret": "two\nlines"}, "keys[0].secret: must be printable ASCII"),
        ({"secret": None, "hash": SECRET}, "keys[0].hash: must be sha256: or hmac-sha256:"),
        ({"secret": None, "hash": "hmac-sha256:" + "0" * 64}, "keys[0].hash: hmac-sha256 needs the pepper"),
        ({"secrets": [{"secret": "x"}]}, "keys[0].secrets: stands beside a secret"),
        ({"secret": None, "secrets": [{}]}, "keys[0].secrets[0]: needs a secret or a hash"),
        ({"expires": SECRET}, "keys[0].expires: must be a date such as"),
        ({"expires": 20270101}, "keys[0].expires: must be a date such as"),
        ({"disabled": "yes"}, "keys[0].disabled: must be true or false, not text"),
        ({"models": "gpt-4o"}, "keys[0].models: must be a list of texts, not text"),
        ({"models": [SECRET, 7]}, "keys[0].models: must be a list of texts"),
        ({"tags": {"a": 1}}, "keys[0].tags: must be texts"),
        ({"aliases": {"fast": []}}, "keys[0].aliases: the alias 'fast' has no target with a weight above 0"),
        ({"aliases": {"fast": "a*"}}, "keys[0].aliases: the alias 'fast' has no *, so its target"),
        ({"aliases": {"a**": "b"}}, "keys[0].aliases: 'a**' has more than one *"),
        ({"aliases": {"fast": [{"model": "a", "weight": 0}]}}, "keys[0].aliases: the alias 'fast' has no target"),
        ({"aliases": {"fast": [{"model": "a", "wieght": 1}]}}, "the alias 'fast' has an unknown key 'wieght'"),
        ({"limits": {"requests_per_minut": 1}}, "unknown key, did you mean 'requests_per_minute'?"),
        (
            {"limits": {"requests_per_minute": True}},
            "keys[0].limits.requests_per_minute: must be a number, not true or false",
        ),
        ({"limits": {"requests_per_minute": 0}}, "keys[0].limits.requests_per_minute: must be more than 0"),
        ({"limits": 60}, "keys[0].limits: must be a mapping, not a number"),
        ({"budget": {"usd": -1, "period": "day"}}, "keys[0].budget.usd: must be at least 0"),
        ({"budget": {"usd": SECRET, "period": "day"}}, "keys[0].budget.usd: must be an amount"),
        ({"budget": {"usd": 1, "period": "year"}}, "keys[0].budget.period: must be one of day, week, month, total"),
        ({"priority": "urgent"}, "keys[0].priority: must be one of low, normal, high"),
        ({"priority": 1}, "keys[0].priority: must be one of low, normal, high"),
        ({"expire": "2027-01-01"}, "keys[0].expire: unknown key, did you mean 'expires'?"),
        ({"colour": "red"}, "keys[0].colour: unknown key, known are admin, aliases, budget"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_without_its_value(entry, said):
    with pytest.raises(ConfigError) as caught:
        read(**entry)
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1
    assert SECRET not in str(caught.value) + repr(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        entries = ["x", {"id": "a", "secret": "s"}, {"id": "a", "secret": "s", "team": 1}]
        read_keys(entries, Reading(Digester()))
    assert str(caught.value).splitlines() == [
        "keys[0]: must be a mapping, not text",
        "keys[2].team: must be text, not a number",
        "keys[2].id: the same id as keys[1]",
        "keys[2].secret: the same secret as keys[1]",
    ]


def test_where_unknown_keys_are_kept_a_misspelt_one_is_still_a_mistake():
    entry = {"id": "a", "secret": "s", "colour": "red", "expirse": "2027-01-01"}
    with pytest.raises(ConfigError) as caught:
        read_keys([entry], Reading(Digester()), section=FileEntry)
    assert [problem.path for problem in caught.value.problems] == [("keys", 0, "expirse")]


def test_secrets_are_read_from_the_environment_where_that_is_asked_for():
    environ = {"ONE": "sk-one", "TWO": "sk-two"}
    entries = [{"id": "a", "secrets": [{"secret": "${ONE}"}, {"secret": "os.environ/TWO"}, {"secret": "sk-${ONE}"}]}]
    (key,) = read_keys(entries, Reading(Digester(), environ))
    assert [secret.digest for secret in key.secrets] == [sha256("sk-one"), sha256("sk-two"), sha256("sk-${ONE}")]


moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
names = st.text(st.characters(categories=("L", "N"), include_characters="-_."), min_size=1)
keys = st.builds(
    Key,
    st.builds(
        Principal,
        names,
        team=st.none() | names,
        owner=st.none() | names,
        tags=st.dictionaries(names, st.text()),
        models=st.none() | st.lists(names).map(tuple),
        aliases=st.dictionaries(
            names, st.lists(st.builds(AliasTarget, names, st.integers(1, 99)), min_size=1).map(tuple)
        ),
        limits=st.builds(Limits, **{name: st.none() | st.integers(1, 10**12) for name in LIMIT_KEYS}),
        budget=st.none()
        | st.builds(Budget, st.integers(0, 10**12), st.sampled_from(["day", "week", "month", "total"])),
    ),
    st.lists(
        st.builds(
            SecretDigest,
            st.binary(min_size=32, max_size=32),
            names,
            moments,
            st.none() | moments,
            st.sampled_from(["sha256", "hmac-sha256"]),
        ),
        min_size=1,
        unique_by=lambda secret: secret.digest,
    ).map(tuple),
    moments,
    st.none() | moments,
    st.none() | moments,
    st.booleans(),
)


@given(keys)
def test_every_key_reads_back_as_it_was_written(key):
    assert read_keys([key_to_dict(key)], Reading(Digester("pepper"))) == (key,)
