"""The steps of `explain` as facts: what the page says of them in the reader's language, and no more than the sentence."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

import crplugins.homes.page
from crplugins.config import parse_config
from crplugins.core.principal import Period
from crplugins.handlers.routing.settings import Strategy
from crplugins.homes.explained import explained
from crplugins.keys.inline import InlineKeys
from crplugins.plugins.rate_limits.rules import Scope

TEXTS = Path(crplugins.homes.page.__file__).parent / "static" / "texts"
NOW = datetime(2027, 5, 1, tzinfo=UTC)
KEYS = [
    {"id": "a", "secret": "sk-a-of-the-facts", "team": "search", "models": ["m", "other", "mix", "free", "pair"],
     "limits": {"requests_per_minute": 60}, "budget": {"usd": 50, "period": "month"}},
    {"id": "free", "secret": "sk-free-of-the-facts"},
    {"id": "off", "secret": "sk-off-of-the-facts", "disabled": True},
    {"id": "old", "secret": "sk-old-of-the-facts", "expires": "2026-01-01"},
    {"id": "new", "secret": "sk-new-of-the-facts", "not_before": "2028-01-01"},
]  # fmt: skip


def model(name, **words):
    params = {"model": "openai/up", "api_base": "http://127.0.0.1:9/v1", "api_key": "k", **words.pop("params", {})}
    return {"model_name": name, "litellm_params": params, "handler": "direct", **words}


PRICED = {
    "model_info": {"input_cost_per_token": 1.5e-7, "output_cost_per_token": 6e-7, "cache_read_input_token_cost": 7.5e-8}
}
CONFIG = {
    "model_list": [
        model("m", rpm=500, order=2, weight=3, on_break="restart", **PRICED), model("m", on_break="continue", **PRICED),
        model("other", num_retries=0, cooldown_time=0, timeout=60, retry_policy={"TimeoutErrorRetries": 2}, **PRICED),
        model("free"), {"model_name": "demo", "litellm_params": {"model": "demo/echo"}},
        {"model_name": "claude", "litellm_params": {"model": "anthropic/claude-sonnet-4-5", "api_key": "k"}},
        {"model_name": "claude", "litellm_params": {"model": "azure/x", "api_key": "k", "api_base": "https://az.example"}},
    ],
    "keys": KEYS,
    "aliases": {"fast": "m", "mix": [{"model": "m", "weight": 9}, {"model": "other", "weight": 1}], "gone": "nowhere"},
    "limits": {"per_model": {"m": {"tokens_per_minute": 1000}}, "per_team": {"search": {"requests_per_day": 7}},
               "queue": {"seconds": 10, "length": 5}, "shadow": True},
    "budgets": {"per_session": {"usd": 1}, "per_user": {"usd": 2, "period": "day"}},
    "server": {"max_in_flight": 20},
    "fallbacks": [{"other": ["m", "demo"]}],
    "context_window_fallbacks": [{"m": ["other"]}],
}  # fmt: skip


BARE = {
    "model_list": [model("m", on_break="continue", model_info={"supports_assistant_prefill": True})],
    "keys": [{"id": "a", "secret": "sk-a-of-the-facts", "limits": {"requests_per_minute": 5}}, {"id": "b", "secret": "sk-b-of-the-facts"}],
    "limits": {"queue": {"seconds": 10, "length": 5}},
}  # fmt: skip


def explained_all(config, keys, ids, names):
    read, known = parse_config(config), InlineKeys(keys).keys
    return [step for key in ids for name in names for step in explained(read, known, key, name, now=NOW)]


@pytest.fixture(scope="module")
def steps():
    names = ("m", "fast", "mix", "gone", "other", "free", "demo", "claude", "nope")
    whole = explained_all(CONFIG, KEYS, ("a", "free", "off", "old", "new", "nobody"), names)
    return [*whole, *explained_all(BARE, BARE["keys"], ("a", "b"), ["m"])]


def texts(language):
    return json.loads((TEXTS / f"{language}.json").read_text("utf-8"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_has_a_sentence_for_each_with_the_same_words(steps, language):
    said = texts(language)
    assert {step.step for step in steps} == {name.removeprefix("step_") for name in said if name.startswith("step_")}
    facts = [fact for step in steps for fact in step.facts]
    for fact in facts:
        assert sorted(re.findall(r"\{(\w+)\}", said[f"fact_{fact.name}"])) == sorted(fact.values), fact
    never = {name for name in said if name.startswith("fact_")} - {f"fact_{fact.name}" for fact in facts}
    assert never == {"fact_separator", "fact_no_list", "fact_weights_random", "fact_goes_on_as", "fact_key_revoked"}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_name_of_a_closed_set_has_a_text(language):
    said = texts(language).keys()
    scopes = {"global" if scope == "overall" else scope for scope in get_args(Scope)}
    assert {f"applies_to_{scope}" for scope in scopes} <= said
    assert {f"strategy_{strategy}" for strategy in get_args(Strategy)} <= said
    assert {f"period_{period}" for period in get_args(Period)} <= said


def test_a_fact_is_what_the_sentence_says(steps):
    translated = {"measure", "scope", "period", "strategy", "occasion", "code"}
    for step in steps:
        assert step.facts or not step.ok
        for fact in step.facts:
            for name, value in fact.values.items():
                if name in translated or fact.name in ("alias", "cost", "turns", "weight"):
                    continue
                said = f"{value:g}" if isinstance(value, float) else str(value)
                once = fact.name in ("retries", "quota")
                assert said in step.text or (once and str(value) == "1"), (step, fact)
