"""The sections `limits` and `budgets`, and the limits and budget of a key."""

from types import MappingProxyType
from typing import Any

import pytest
from pydantic import ValidationError

from crplugins.config.limits import BudgetsSection, LimitsSection
from crplugins.core import principal
from crplugins.core.identity import IdentityRules, IdentitySource
from crplugins.keys.entry import Reading, key_to_dict, read_keys
from crplugins.keys.policy import BURST_KEYS, LIMIT_KEYS, Amounts, BudgetSection, Burst
from crplugins.keys.secrets import Digester
from crplugins.plugins.rate_limits.rules import MEASURES, LimitRules, SessionLimits
from crplugins.settings.errors import ConfigError
from crplugins.settings.wrong_values import wrong_values
from tests.config.conftest import Load, Refuse


def test_all_there_is_to_say() -> None:
    section = LimitsSection.model_validate(
        {
            "store": "redis://host:6379/0",
            "on_store_error": "closed",
            "global": {"tokens_per_minute": 1_000_000},
            "per_team": {"search": {"requests_per_day": 100}},
            "per_model": {"m": {"output_tokens_per_hour": 5}},
            "per_key": {"requests_per_minute": 60, "burst": {"requests_per_minute": 5}, "shadow": True},
            "per_key_and_model": {"m": {"max_parallel_requests": 2}},
            "per_client_address": {"requests_per_hour": 10},
            "per_deployment": {"requests_per_minute": 3},
            "per_user": {"requests_per_day": 7},
            "per_session": {"requests": 5, "tokens": 900, "tokens_per_minute": 90, "burst": {"tokens_per_minute": 30}},
            "trusted_proxies": ["10.0.0.0/8", "::1"],
            "estimated_output_tokens": 500,
            "shadow": True,
            "queue": {"seconds": 30},
        }
    )
    assert (section.store, section.on_store_error) == ("redis://host:6379/0", "closed")
    assert (section.trusted_proxies, section.estimated_output_tokens) == (("10.0.0.0/8", "::1"), 500)
    of = principal.Limits
    assert section.per_deployment.limits() == of(requests_per_minute=3)
    assert section.rules() == LimitRules(
        overall=of(tokens_per_minute=1_000_000),
        per_team={"search": of(requests_per_day=100)},
        per_model={"m": of(output_tokens_per_hour=5)},
        per_key=of(requests_per_minute=60, burst=MappingProxyType({"requests_per_minute": 5}), shadow=True),
        per_key_and_model={"m": of(max_parallel_requests=2)},
        per_client_address=of(requests_per_hour=10),
        per_user=of(requests_per_day=7),
        per_session=SessionLimits(
            tokens_per_minute=90, burst=MappingProxyType({"tokens_per_minute": 30}), requests=5, tokens=900
        ),
        shadow=True,
        queue=principal.Queue(30, 100),
    )


def test_a_set_of_limits_may_say_how_requests_wait_for_it() -> None:
    section = LimitsSection.model_validate(
        {
            "per_model": {"m": {"requests_per_minute": 5, "queue": {"seconds": 2.5, "length": 7}}},
            "per_session": {"requests": 5, "queue": {"length": 0}},
            "per_key": {"requests_per_minute": 5},
        }
    )
    rules = section.rules()
    assert rules.queue is None
    assert rules.per_model["m"].queue == principal.Queue(2.5, 7)
    assert rules.per_session.queue == principal.Queue(10, 0)
    assert rules.per_key.queue is None


def test_nothing_said_limits_nothing() -> None:
    assert (LimitsSection().rules(), LimitsSection().store, LimitsSection().on_store_error) == (
        LimitRules(),
        "memory",
        "local",
    )
    assert (BudgetsSection().teams(), BudgetsSection().key(), BudgetsSection().warn_at) == ({}, None, 0.8)


def test_where_names_stand() -> None:
    section = LimitsSection.model_validate(
        {
            "identity": {
                "user": ["header:X-End-User", "user"],
                "session": ["metadata:run"],
                "missing_user": "refuse",
                "missing_session": "share",
                "session_idle_seconds": 60,
                "max_per_key": 5,
            }
        }
    )
    assert section.identity.identities(None).rules == IdentityRules(
        user=(IdentitySource("header", "x-end-user"), IdentitySource("field", "user")),
        session=(IdentitySource("metadata", "run"),),
        missing_user="refuse",
        missing_session="share",
        session_idle_seconds=60,
        max_per_key=5,
    )
    assert section.identity.metadata_names == ("run",)
    assert LimitsSection().identity.identities(None).rules == IdentityRules()


def test_the_password_of_a_store_does_not_show() -> None:
    assert "secret" not in repr(LimitsSection(store="redis://:secret@host:6379/0"))


def test_budgets() -> None:
    section = BudgetsSection.model_validate(
        {
            "per_team": {"search": {"usd": 0.1, "period": "week"}},
            "per_key": {"usd": 50, "period": "total"},
            "per_user": {"usd": 5, "period": "month"},
            "per_session": {"usd": "0.25", "shadow": True},
            "warn_at": 0.5,
        }
    )
    assert section.user() == principal.Budget(5_000_000, "month")
    assert section.session() == principal.Budget(250_000, "total", shadow=True)
    assert len(section.all()) == 4
    assert section.teams() == {"search": principal.Budget(100_000, "week")}
    assert (section.key(), section.warn_at) == (principal.Budget(50_000_000, "total"), 0.5)


@pytest.mark.parametrize(
    ("section", "words", "place", "said"),
    [
        (LimitsSection, {"store": ""}, "store", "must not be empty"),
        (LimitsSection, {"on_store_error": "opn"}, "on_store_error", "must be one of local, open, closed, did you mean 'open'?"),
        (LimitsSection, {"global": {"tokens_per_minute": 0}}, "global.tokens_per_minute", "must be more than 0"),
        (LimitsSection, {"per_key": {"requests_per_day": True}}, "per_key.requests_per_day", "must be a number, not true or false"),
        (LimitsSection, {"per_team": {"a": {"requests_per_day": 1.5}}}, "per_team.a.requests_per_day", "must be a whole number"),
        (
            LimitsSection,
            {"per_key": {"requests_per_day": 1, "burst": {"requests_per_hour": 1}}},
            "per_key.burst.requests_per_hour",
            "is the burst of a limit that is not given",
        ),
        (LimitsSection, {"trusted_proxies": ["10.0.0.0/33"]}, "trusted_proxies.0", "must be a network such as 10.0.0.0/8, or an address"),
        (LimitsSection, {"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies.0", "must be a network such as 10.0.0.0/8, or an address"),
        (LimitsSection, {"estimated_output_tokens": 0}, "estimated_output_tokens", "must be more than 0"),
        (BudgetsSection, {"per_key": {"usd": -1, "period": "day"}}, "per_key.usd", "must be at least 0"),
        (BudgetsSection, {"per_key": {"usd": 1, "period": "year"}}, "per_key.period", "must be one of day, week, month, total"),
        (BudgetsSection, {"per_key": {"usd": 1}}, "per_key.period", "is missing"),
        (BudgetsSection, {"per_user": {"usd": 1, "period": "total"}}, "per_user.period", "must be one of day, week, month"),
        (LimitsSection, {"per_session": {"tokens": 0}}, "per_session.tokens", "must be more than 0"),
        (LimitsSection, {"identity": {"user": []}}, "identity.user", "must not be empty"),
        (LimitsSection, {"identity": {"user": "user"}}, "identity.user", "must be a list, not text"),
        (
            LimitsSection,
            {"identity": {"session": ["cookie:sid"]}},
            "identity.session.0",
            "must be a field of the request such as user, header:NAME or metadata:NAME",
        ),
        (LimitsSection, {"identity": {"missing_user": "allow"}}, "identity.missing_user", "must be one of share, refuse, ignore"),
        (LimitsSection, {"identity": {"session_idle_seconds": 10**9}}, "identity.session_idle_seconds", "must be at most 3.1536e+07"),
        (BudgetsSection, {"warn_at": 80}, "warn_at", "must be at most 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(section: Any, words: Any, place: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        section.model_validate(words)
    assert [(".".join(map(str, p.path)), p.message) for p in wrong_values(caught.value)] == [(place, said)]


def test_every_list_of_limits_names_the_same_ones() -> None:
    fields = {*principal.Limits.__struct_fields__}
    assert (
        set(LIMIT_KEYS)
        == set(MEASURES)
        == set(Amounts.model_fields) - {"burst", "shadow", "queue"}
        == fields - {"burst", "shadow", "queue"}
    )
    assert set(BURST_KEYS) == set(Burst.model_fields) == set(LIMIT_KEYS) - {"max_parallel_requests"}
    assert BudgetSection.model_fields.keys() == {"usd", "period", "shadow"}


def read(**limits: Any) -> Any:
    return read_keys([{"id": "a", "secret": "sk-secret-0123456789", "limits": limits}], Reading(Digester()))[0]


def test_a_keys_own_limits_may_have_bursts_and_be_shadows_and_are_written_as_they_are_read() -> None:
    words = {
        "requests_per_minute": 60,
        "tokens_per_day": 9,
        "burst": {"requests_per_minute": 5},
        "shadow": True,
        "queue": {"seconds": 2.5, "length": 7},
    }
    key = read(**words)
    assert key.principal.limits == principal.Limits(
        requests_per_minute=60,
        tokens_per_day=9,
        burst={"requests_per_minute": 5},
        shadow=True,
        queue=principal.Queue(2.5, 7),
    )
    assert key_to_dict(key)["limits"] == words


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"shadow": "yes"}, "keys[0].limits.shadow: must be true or false, not text"),
        ({"burst": 5}, "keys[0].limits.burst: must be a mapping, not a number"),
        ({"queue": {"seconds": 0}}, "keys[0].limits.queue.seconds: must be more than 0"),
        ({"queue": {"length": -1}}, "keys[0].limits.queue.length: must be at least 0"),
        ({"queue": 10}, "keys[0].limits.queue: must be a mapping, not a number"),
        (
            {"burst": {"max_parallel_requests": 5}},
            "keys[0].limits.burst.max_parallel_requests: unknown key, known are output_tokens_per_day",
        ),
        (
            {"tokens_per_day": 5, "burst": {"tokens_per_day": 0}},
            "keys[0].limits.burst.tokens_per_day: must be more than 0",
        ),
        (
            {"tokens_per_day": 5, "burst": {"tokens_per_hour": 2}},
            "keys[0].limits.burst.tokens_per_hour: is the burst of a limit that is not given",
        ),
        (
            {"tokens_per_dya": 5},
            "keys[0].limits.tokens_per_dya: unknown key, did you mean 'tokens_per_day'?",
        ),
    ],
)
def test_a_mistake_in_a_keys_limits_is_named(limits: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**limits)
    assert str(caught.value).startswith(said)
    assert len(caught.value.problems) == 1


MODEL = "model_list: [{model_name: m, litellm_params: {model: openai/m}}]\n"


def test_a_file_with_all_of_it_is_read(load: Load) -> None:
    config = load(
        MODEL
        + """\
limits:
  store: sqlite:///limits.db
  global: {tokens_per_minute: 1000000}
  per_team: {search: {requests_per_day: 100, burst: {requests_per_day: 10}}}
  per_model: {m: {output_tokens_per_hour: 5}}
budgets:
  per_team: {search: {usd: 20, period: week}}
"""
    )
    assert config.limits.rules().per_team["search"].burst == {"requests_per_day": 10}
    assert config.limits.rules().overall.tokens_per_minute == 1_000_000
    assert config.budgets.teams()["search"].micro_usd == 20_000_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {glbal: {}}", "limits.glbal: unknown key, did you mean 'global'?"),
        ("limits: {global: {tokens_per_minut: 1}}", "limits.global.tokens_per_minut: unknown key, did you mean 'tokens_per_minute'?"),
        ("limits: {per_team: {x: {tokens_per_minut: 1}}}", "limits.per_team.x.tokens_per_minut: unknown key, did you mean 'tokens_per_minute'?"),
        ("limits: {per_model: {nope: {tokens_per_minute: 1}}}", "limits.per_model.nope: is no model in model_list; a request for an alias counts for the model behind it"),
        ("limits: {store: mem}", "limits.store: a limit store is memory, sqlite:///limits.db, redis://host:6379/0, rediss://host:6379/0, unix:///run/redis.sock, redis+sentinel://host:26379/mymaster/0 or redis+cluster://host:6379"),
        ("limits: {per_team: []}", "limits.per_team: must be a mapping, not a list"),
        ("budgets: {per_team: {x: {usd: 5, perod: day}}}", "budgets.per_team.x.perod: unknown key, did you mean 'period'?"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_named_with_its_line(refuse: Refuse, text: str, said: str) -> None:
    assert f"line 2: {said}" in refuse(MODEL + text + "\n")
