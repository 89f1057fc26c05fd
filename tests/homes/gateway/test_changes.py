"""What a reload says of the difference between two configurations."""

from typing import Any

from crplugins.config import Config, parse_config
from crplugins.homes.gateway.changes import changes_between


def configuration(secret: str, **more: Any) -> Config:
    """One with `secret` in every place where people write secrets."""
    params = {
        "model": "openai/m",
        "api_key": secret,
        "api_base": f"https://user:{secret}@provider.example/v1?key={secret}",
        "headers": {"x-team": secret},
        "extra_body": {"auth": secret},
    }
    return parse_config(
        {
            "model_list": [{"model_name": "m", "litellm_params": params}],
            "keys": [{"id": "a", "secret": secret}],
            "admin": {"token": secret, "tokens": {"ann": secret + secret}},
            "metrics": {"token": secret},
            "webhooks": [{"url": f"https://hooks.example/services/{secret}", "secret": secret}],
            "ledger": {"url": f"postgresql://user:{secret}@db.example/usage"},
            "limits": {"store": f"redis://:{secret}@redis.example:6379/0"},
            "prices": {"url": f"https://user:{secret}@prices.example/list.json?token={secret}"},
            **more,
        },
        {},
    )


def test_a_secret_that_has_changed_is_named_by_its_place_and_shown_nowhere() -> None:
    first, second = "the-first-of-two-secrets", "the-other-of-two-secrets"
    changes = changes_between(configuration(first), configuration(second))
    assert not [change for change in changes if first in change or second in change]
    params = "model_list[m].litellm_params"
    assert set(changes) == {
        f"{place} has changed"
        for place in (
            f"{params}.api_key", f"{params}.api_base", f"{params}.headers.x-team", f"{params}.extra_body.auth",
            "keys[a].secret", "admin.token", "admin.tokens.ann", "metrics.token", "webhooks[0].url",
            "webhooks[0].secret", "ledger.url", "limits.store", "prices.url",
        )
    }  # fmt: skip


def test_other_values_are_shown_as_they_were_and_as_they_are() -> None:
    secret = "a secret that stays the same"
    before, after = configuration(secret), configuration(secret, aliases={"fast": "m"}, num_retries=2)
    assert set(changes_between(before, after)) == {"aliases.fast: m (new)", "num_retries: null -> 2"}


def test_of_a_new_model_what_its_file_says_is_shown_and_of_one_that_is_gone_its_name() -> None:
    def config(*names: str) -> Config:
        params = {"model": "openai/m", "api_base": "http://h/v1", "temperature": 0}
        entries = [{"model_name": name, "litellm_params": params, "handler": "direct"} for name in names]
        return parse_config({"model_list": entries})

    assert changes_between(config("a", "b"), config("a", "c")) == [
        "model_list[c]: new",
        "model_list[c].model_name: c (new)",
        "model_list[c].litellm_params.model: openai/m (new)",
        "model_list[c].litellm_params.api_base: http://h/v1 (new)",
        "model_list[c].litellm_params.temperature: 0 (new)",
        "model_list[c].handler: direct (new)",
        "model_list[b]: removed",
    ]


def test_a_section_that_is_new_or_gone_shows_what_its_file_says() -> None:
    alone, with_budget = parse_config({}), parse_config({"budgets": {"per_key": {"usd": 5, "period": "day"}}})
    assert changes_between(alone, with_budget) == ["budgets.per_key.usd: 5 (new)", "budgets.per_key.period: day (new)"]
    assert changes_between(with_budget, alone) == [
        "budgets.per_key.usd: removed",
        "budgets.per_key.period: removed",
        "budgets.per_key.shadow: removed",
    ]


def test_numbers_are_shown_as_people_write_them() -> None:
    def config(tokens: int, usd: float, share: float) -> Config:
        budgets = {"per_team": {"ads": {"usd": usd, "period": "day"}}, "warn_at": share}
        return parse_config({"limits": {"per_key": {"tokens_per_minute": tokens}}, "budgets": budgets})

    assert changes_between(config(1_000_000, 500, 0.8), config(1_000_001, 2500.5, 0.85)) == [
        "limits.per_key.tokens_per_minute: 1000000 -> 1000001",
        "budgets.per_team.ads.usd: 500 -> 2500.5",
        "budgets.warn_at: 0.8 -> 0.85",
    ]
