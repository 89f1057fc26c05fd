"""A LiteLLM user's file works: what belongs to LiteLLM's proxy or router is named and left out."""

import pytest

from crplugins.core.principal import Limits
from crplugins.handlers.deadlines import NO_DEADLINES, Deadlines

LITELLM_FILE = """\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: os.environ/AZURE_API_BASE
      api_key: os.environ/AZURE_API_KEY
      api_version: 2024-06-01
      rpm: 6
      weight: 2
      stream_timeout: 30
      timeout: 120
      max_retries: 2
    model_info:
      mode: chat
      base_model: azure/gpt-4o
      input_cost_per_token_batches: 0.1
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      base_url: https://eu.example.com/v1/
      api_key: os.environ/AZURE_API_KEY
      input_cost_per_token: 1e-6
      top_k: 4
      min_tokens: 3
      aws_session_name: s
    tpm: 100000
  - model_name: openai/*
    litellm_params: {model: openai/*, api_key: x}
  - model_name: "*"
    litellm_params: {model: "*"}
litellm_settings:
  drop_params: true
  callbacks: [prometheus]
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
router_settings: {routing_strategy: least-busy}
environment_variables: {REDIS_HOST: localhost}
"""

ENVIRON = {"AZURE_API_BASE": "https://x.openai.azure.com", "AZURE_API_KEY": "az"}


def test_a_litellm_file_is_read_with_warnings(load):
    config = load(LITELLM_FILE, ENVIRON)
    assert config.warnings == (
        "litellm_settings.callbacks is ignored: write 'metrics', 'ledger', 'tracing' or 'plugins'",
        "general_settings.master_key is ignored: the environment variable LITELLM_MASTER_KEY is not set; without 'keys' "
        "one is generated at the start",
    )


def test_the_quota_of_a_deployment_stands_in_either_place_and_is_kept(load):
    azure, openai, *others = load(LITELLM_FILE, ENVIRON).deployments()
    assert (azure.quota, openai.quota) == (Limits(requests_per_minute=6), Limits(tokens_per_minute=100000))
    assert [other.quota for other in others] == [Limits(), Limits()]
    assert "rpm" not in azure.parameters


def test_entries_keep_their_order_names_and_wildcards(load):
    names = [(d.name, d.model) for d in load(LITELLM_FILE, ENVIRON).deployments()]
    assert names == [("gpt-4o", "azure/gpt-4o-eu"), ("gpt-4o", "openai/gpt-4o"), ("openai/*", "openai/*"), ("*", "*")]


def test_unknown_parameters_are_kept_for_the_provider_and_router_keys_and_prices_are_not(load):
    azure, openai, *_ = load(LITELLM_FILE, ENVIRON).deployments()
    assert azure.parameters == {"drop_params": True, "api_version": "2024-06-01", "max_retries": 2}
    assert azure.deadlines == Deadlines(120, first_token_of_stream=30)
    assert openai.parameters == {"drop_params": True, "top_k": 4, "min_tokens": 3, "aws_session_name": "s"}
    assert openai.deadlines == NO_DEADLINES


def test_base_url_is_api_base_without_its_last_slash(load):
    assert load(LITELLM_FILE, ENVIRON).deployments()[1].api_base == "https://eu.example.com/v1"


def test_prices_among_the_parameters_are_prices_of_the_model(load):
    config = load(LITELLM_FILE, ENVIRON)
    assert config.model_list[1].model_info.input_cost_per_token == 1e-6


def test_other_facts_about_a_model_are_kept(load):
    info = load(LITELLM_FILE, ENVIRON).model_list[0].model_info
    assert info.others == {"mode": "chat", "base_model": "azure/gpt-4o", "input_cost_per_token_batches": 0.1}


def test_the_environment_of_ignored_sections_is_not_asked_for(load):
    assert "LITELLM_MASTER_KEY" not in ENVIRON
    load(LITELLM_FILE, ENVIRON)


def test_every_parameter_litellm_knows_passes_as_no_misspelling(monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import asks the network
    from litellm.types.router import GenericLiteLLMParams, LiteLLMParamsTypedDict
    from litellm.types.utils import all_litellm_params

    from crplugins.config.litellm.reading import LitellmReading
    from crplugins.config.litellm_params import LitellmParams
    from crplugins.config.models import ModelInfo
    from crplugins.settings.reading import KeyCheck

    check = KeyCheck()
    names = {*GenericLiteLLMParams.model_fields, *LiteLLMParamsTypedDict.__annotations__, *all_litellm_params}
    reading = LitellmReading({"model_list": [{"model_name": "a", "litellm_params": dict.fromkeys(names, 1)}]}, {})
    check.checked(reading.data["model_list"][0]["litellm_params"], LitellmParams)
    prices = {name for name in GenericLiteLLMParams.model_fields if "cost" in name}
    prices.add("input_dbu_cost_per_token")  # in its price table
    check.checked(dict.fromkeys(prices), ModelInfo)
    assert len(names) > 100
    assert check.problems == []


MODEL = "model_list:\n  - model_name: a\n    litellm_params: {model: openai/m, api_key: x}\n"


def test_every_section_litellms_proxy_reads_stops_nothing(load):
    from crplugins.config.litellm.settings import SECTIONS

    for text in ("{a: 1, a: 2, b: !secret c}", "[1, {b: 2}]", "null", "text"):
        config = load(MODEL + "".join(f"{section}: {text}\n" for section in sorted(SECTIONS - {"include"})))
        told = " ".join(config.warnings)
        assert all(section in told for section in SECTIONS - COUNTING) or text == "null"


COUNTING = {"credential_list", "environment_variables", "include", "model_group_alias"}


def test_a_mistake_in_the_text_of_our_own_sections_is_still_one(refuse):
    assert refuse(MODEL + "server: {port: 1, port: 2}") == ["line 4: server.port: stands twice, first in line 4"]


def test_a_key_where_a_colon_was_forgotten_is_not_shown(load):
    config = load(MODEL + "litellm_settings: {sk-1234567890abcdef, drop_params: false}")
    assert config.warnings == (
        "a key of litellm_settings that is no name is unknown and does not count: no key that is known here",
    )


def test_environment_variables_stand_above_the_environment(load):
    text = """\
environment_variables: {ONE: sk-file, TWO: os.environ/OUTSIDE, THREE: "${OUTSIDE}-3", FOUR: 4, FIVE: [5], SIX: os.environ/NOWHERE}
model_list:
  - model_name: a
    litellm_params: {model: openai/m, api_key: os.environ/ONE, extra_body: {a: "${TWO}", b: "${THREE}", c: os.environ/FOUR}}
"""
    [model] = load(text, {"ONE": "sk-outside", "OUTSIDE": "out"}).deployments()
    assert model.api_key == "sk-file"
    assert model.parameters["extra_body"] == {"a": "out", "b": "out-3", "c": "4"}


def test_a_credential_is_used_by_its_name_and_what_stands_beside_the_model_wins(load):
    config = load(
        """\
model_list:
  - model_name: a
    litellm_params: {model: openai/m, litellm_credential_name: c, api_base: "http://own/v1"}
  - model_name: b
    litellm_params: {model: openai/m, litellm_credential_name: nowhere, api_key: y}
credential_list:
  - {credential_name: c, credential_values: {api_key: os.environ/KEY, api_base: "http://shared/v1"}, credential_info: {}}
""",
        {"KEY": "x"},
    )
    named, unnamed = config.deployments()
    assert (named.api_key, named.api_base, dict(named.parameters)) == ("x", "http://own/v1", {})
    assert config.warnings == (
        "model_list[1].litellm_params.litellm_credential_name is ignored: "
        "'credential_list' has no credential of this name",
    )
    assert unnamed.api_key == "y"


@pytest.mark.parametrize("its_own", ["false", "true", "[tool_choice]"])
def test_drop_params_for_all_models_holds_whatever_one_of_them_says_as_in_litellm(load, its_own):
    text = MODEL.replace("api_key: x", f"api_key: x, drop_params: {its_own}") + "litellm_settings: {drop_params: true}"
    assert load(text).deployments()[0].parameters["drop_params"] is True


def test_names_in_drop_params_are_told_where_they_stand_and_a_model_alone_may_say_false(load):
    config = load(MODEL.replace("api_key: x", "api_key: x, drop_params: [tool_choice]"))
    assert config.deployments()[0].parameters == {}
    assert config.warnings == (
        "model_list[0].litellm_params.drop_params is ignored: it is true or false; parameters to take off stand under "
        "'additional_drop_params'",
    )
    alone = load(MODEL.replace("api_key: x", "api_key: x, drop_params: false"))
    assert (alone.deployments()[0].parameters, alone.warnings) == ({"drop_params": False}, ())


ROUTER = """\
model_list:
  - model_name: a
    litellm_params: {model: openai/m, api_key: x, order: 1, weight: 3, num_retries: 0}
    cooldown_time: 7
  - model_name: a
    litellm_params: {model: openai/n, api_key: x, cooldown_time: 8}
  - model_name: b
    litellm_params: {model: openai/o, api_key: x}
litellm_settings: {num_retries: 4, allowed_fails: 3}
router_settings:
  num_retries: 2
  cooldown_time: 30
  retry_policy: {RateLimitErrorRetries: 5, TimeoutErrorRetries: 1}
  model_group_retry_policy: {b: {TimeoutErrorRetries: 0}}
  retry_after: 1
"""


def test_how_litellms_router_retries_and_rests_counts_and_what_stands_beside_a_model_comes_first(load):
    config = load(ROUTER)
    first, second, other = (deployment.routing for deployment in config.deployments())
    assert (first.order, first.weight, first.cooldown_seconds, first.retries.retries) == (1, 3.0, 7.0, 0)
    assert (second.order, second.weight, second.cooldown_seconds, second.retries.retries) == (None, 1.0, 8.0, 2)
    assert (other.cooldown_seconds, other.allowed_fails) == (30.0, 3)
    assert second.retries.by_kind == {"RateLimitError": 5, "TimeoutError": 1}
    assert other.retries.by_kind == {"RateLimitError": 5, "TimeoutError": 0}
    assert config.warnings == (
        "litellm_settings.num_retries is ignored: 'router_settings.num_retries' says the same",
        "router_settings.retry_after is ignored: a provider names the time itself, and else pauses grow from a quarter "
        "of a second",
    )


def test_a_router_that_knows_no_cooldowns_has_none(load):
    config = load(MODEL + "router_settings: {disable_cooldowns: true}")
    assert (config.deployments()[0].routing.cooldown_seconds, config.warnings) == (0.0, ())


def test_our_own_words_come_before_those_of_litellms_sections(load):
    config = load(MODEL + "num_retries: 1\nrouter_settings: {num_retries: 2}")
    assert config.num_retries == 1
    assert config.warnings == ("router_settings.num_retries is ignored: 'num_retries' says the same",)


def test_what_is_wrong_in_litellms_sections_is_named_where_it_stands_and_stops_nothing(load):
    text = "litellm_settings: {drop_params: true}\nrouter_settings:\n  cooldown_time: soon\n  retry_policy: {RateLimitRetries: 1}"
    first, second = load(MODEL + text).warnings
    assert first == "router_settings.cooldown_time is ignored: must be a number, not text"
    assert second.startswith("router_settings.retry_policy.RateLimitRetries is ignored: unknown key, did you mean")
