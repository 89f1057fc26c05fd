"""A LiteLLM user's file works: what belongs to LiteLLM's proxy or router is named and left out."""

from crplugins.core.principal import Limits

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
    router = "it belongs to LiteLLM's router"
    proxy = "it configures LiteLLM's own proxy"
    assert config.warnings == (
        f"litellm_settings is ignored: {proxy}",
        f"general_settings is ignored: {proxy}",
        f"router_settings is ignored: {proxy}",
        f"environment_variables is ignored: {proxy}",
        f"model_list[0].litellm_params.weight is ignored: {router}",
        "model_list[0].litellm_params.stream_timeout is ignored: 'timeout' bounds the wait for each piece of a stream",
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
    assert azure.parameters == {"api_version": "2024-06-01", "max_retries": 2}
    assert azure.timeout == 120.0
    assert openai.parameters == {"top_k": 4, "min_tokens": 3, "aws_session_name": "s"}
    assert openai.timeout == 600.0


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

    from crplugins.config.models import LitellmParams, ModelInfo
    from crplugins.settings.section import KeyCheck

    check = KeyCheck()
    names = {*GenericLiteLLMParams.model_fields, *LiteLLMParamsTypedDict.__annotations__, *all_litellm_params}
    check.checked(dict.fromkeys(names), LitellmParams)
    prices = {name for name in GenericLiteLLMParams.model_fields if "cost" in name}
    prices.add("input_dbu_cost_per_token")  # in its price table
    check.checked(dict.fromkeys(prices), ModelInfo)
    assert len(names) > 100
    assert check.problems == []
