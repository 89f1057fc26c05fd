"""What the configuration says about the choice between deployments of one name."""

import pytest

from crplugins.handlers.routing.settings import GroupSettings

MODELS = """\
model_list:
  - model_name: a
    litellm_params: {model: openai/m, api_key: x}
  - model_name: a
    litellm_params: {model: openai/n, api_key: x}
    routing_strategy: least-busy
    affinity_seconds: 60
  - model_name: b
    litellm_params: {model: openai/o, api_key: x, health_check: {seconds: 2}}
  - model_name: c
    litellm_params: {model: openai/o, api_key: x}
    health_check: {seconds: 0}
"""


def test_what_one_entry_says_holds_for_its_name_and_the_top_level_for_all_others(load):
    config = load(MODELS + "affinity_seconds: 7\nhealth_check: {seconds: 30}")
    assert config.groups() == {
        "a": GroupSettings("least-busy", 60.0),
        "b": GroupSettings("simple-shuffle", 7.0),
        "c": GroupSettings("simple-shuffle", 7.0),
    }
    assert [deployment.routing.check_seconds for deployment in config.deployments()] == [30.0, 30.0, 2.0, 0.0]
    assert load(MODELS).groups()["b"] == GroupSettings("simple-shuffle", 300.0)
    assert load(MODELS).deployments()[0].routing.check_seconds == 0.0


def test_entries_of_one_name_that_say_different_things_are_refused(refuse):
    text = MODELS.replace("api_key: x}\n  - model_name: a", "api_key: x}\n    affinity_seconds: 0\n  - model_name: a")
    assert refuse(text) == [
        "line 8: model_list[1].affinity_seconds: an entry of the same name, which stands before it, says otherwise"
    ]


@pytest.mark.parametrize("strategy", ["simple-shuffle", "least-busy", "latency-based-routing", "cost-based-routing"])
def test_a_strategy_of_litellms_router_counts(load, strategy):
    config = load(MODELS + f"router_settings: {{routing_strategy: {strategy}}}")
    assert (config.groups()["b"].strategy, config.groups()["a"].strategy) == (strategy, "least-busy")
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("usage-based-routing-v2", "a deployment whose rpm or tpm is used up is passed over, and in place of"),
        ("provider-budget-routing", "in place of provider-budget-routing there is"),
        ("lest-busy", "it must be"),
        ("[least-busy]", "it must be"),
    ],
)
def test_a_strategy_that_does_not_count_is_named_in_a_warning(load, strategy, told):
    config = load(MODELS + f"router_settings: {{routing_strategy: {strategy}}}")
    assert config.groups()["b"].strategy == "simple-shuffle"
    (warning,) = config.warnings
    assert warning.startswith(f"router_settings.routing_strategy is ignored: {told}")
    assert warning.endswith("simple-shuffle or least-busy or latency-based-routing or cost-based-routing")


def test_what_else_litellm_says_about_sessions_and_checks_counts_or_is_named_in_a_warning(load):
    text = """\
router_settings: {optional_pre_call_checks: [prompt_caching], deployment_affinity_ttl_seconds: 60}
general_settings: {background_health_checks: true, enable_health_check_routing: true, health_check_interval: 70}
"""
    config = load(MODELS + text)
    assert (config.affinity_seconds, config.health_check.seconds) == (60, 70)
    assert config.warnings == (
        "router_settings.optional_pre_call_checks is ignored: a session stays with one deployment, see 'affinity_seconds'",
    )


@pytest.mark.parametrize(
    "text",
    [
        "routing_strategy: lest-busy",
        "affinity_seconds: -1",
        "affinity_seconds: 100000",
        "health_check: {seconds: -1}",
        "health_check: {secs: 1}",
        "health_check: 10",
    ],
)
def test_what_cannot_be_meant_is_refused(refuse, text):
    assert refuse(MODELS + text)[0].startswith("line 13: " + text.partition(":")[0])


def test_a_word_for_the_name_in_the_place_of_the_deployment_is_no_parameter_for_the_provider(load):
    config = load(MODELS.replace("model: openai/o, api_key: x}", "model: openai/o, routing_strategy: least-busy}"))
    assert "routing_strategy" not in config.deployments()[3].parameters
    assert config.warnings[0].startswith("model_list[3].litellm_params.routing_strategy is ignored: it belongs beside")
