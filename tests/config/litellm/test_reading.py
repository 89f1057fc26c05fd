"""What of LiteLLM's sections counts here, and that neither a key nor a model keeps the others from being served."""

from typing import Any

import pytest

from crplugins.core.network import Certificate

MODELS = """\
model_list:
  - model_name: a
    litellm_params: {model: openai/m-a, api_key: x}
  - model_name: b
    litellm_params: {model: openai/m-b, api_key: y, ssl_verify: true}
"""


def test_the_master_key_is_a_key(load: Any) -> None:
    config = load(f"{MODELS}general_settings: {{master_key: os.environ/MASTER}}", {"MASTER": "sk-master-0123456789"})
    assert config.keys == [{"id": "master-key", "secret": "sk-master-0123456789"}]
    assert config.warnings == ()


def test_beside_keys_of_ours_the_master_key_is_named(load: Any) -> None:
    config = load(f"{MODELS}keys: [{{id: k, secret: sk-k-0123456789}}]\ngeneral_settings: {{master_key: sk-m}}")
    assert config.key_ids() == ["k"]
    assert config.warnings == (
        "general_settings.master_key is ignored: write it under 'keys', which says who may call",
    )


def test_an_alias_is_a_text_or_a_mapping_and_one_of_ours_comes_first(load: Any) -> None:
    text = MODELS + "router_settings: {model_group_alias: {x: a, y: {model: b, hidden: true}, z: a, w: [a]}}\n"
    config = load(text + "aliases: {z: b}")
    assert config.aliases == {"x": "a", "y": "b", "z": "b"}
    assert config.warnings == (
        "router_settings.model_group_alias.y.hidden is ignored: an alias is listed with the models a key may call",
        "router_settings.model_group_alias.z is ignored: 'aliases.z' says the same",
        "router_settings.model_group_alias.w is ignored: it must be the name of a model",
    )


def test_aliases_that_lead_in_a_circle_stop_nothing(load: Any) -> None:
    config = load(MODELS + "router_settings: {model_group_alias: {x: y, y: x, z: a}}")
    assert config.aliases["z"] == "a"
    assert len(config.warnings) == 1


def test_a_fallback_to_an_alias_is_one_to_its_model(load: Any) -> None:
    config = load(MODELS + "router_settings: {model_group_alias: {x: b}, fallbacks: [{a: [x]}]}")
    assert config.fallback_table().on_failure == {"a": ("b",)}
    assert config.warnings == ()


def test_what_holds_for_all_models_is_written_into_each_that_does_not_say_it(load: Any) -> None:
    config = load(f"""\
{MODELS}
litellm_settings: {{ssl_verify: false, ssl_certificate: client.pem, headers: {{x-team: t}}, forward_traceparent_to_llm_provider: true}}
router_settings: {{default_litellm_params: {{temperature: 0.5, nonsense_word: 1}}, default_max_parallel_requests: 7}}
general_settings: {{global_max_parallel_requests: 50, max_request_size_mb: 2}}
""")
    first, second = config.deployments()
    assert (first.ssl_verify, second.ssl_verify) == (False, True)
    assert first.certificate == second.certificate == Certificate("client.pem")
    assert (first.parameters["temperature"], first.parameters["headers"]) == (0.5, {"x-team": "t"})
    assert (first.forwards_trace, first.quota.max_parallel_requests) == (True, 7)
    assert (config.server.max_in_flight, config.server.max_body_bytes) == (50, 2 * 1024 * 1024)
    assert [warning.partition(" is ")[0] for warning in config.warnings] == [
        "router_settings.default_litellm_params.nonsense_word"
    ]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{model_name: e, litellm_params: {model: azure/whisper-1}}", "a model of this name answers in no protocol"),
        ("{model_name: e, litellm_params: {model: runwayml/gen4_turbo}}", "a model of this name answers in no protocol"),
        (
            "{model_name: e, litellm_params: {model: auto_router/complexity_router}}",
            "it stands for LiteLLM's own choice by what a request says; clients ask for one of its models by name",
        ),
        (
            "{model_name: e, litellm_params: {model: langfuse/gpt-4o, prompt_id: p}}",
            "its prompt is kept in langfuse, where only LiteLLM's proxy looks; write the provider before 'gpt-4o'",
        ),
        ("{model_name: e, litellm_params: {model: azure/pictures}, model_info: {mode: image_generation}}", "its mode is image_gen"),
        ("{model_name: e, litellm_params: {model: openai/m}, model_info: {blocked: true}}", "model_info.blocked is true"),
        ("{model_name: e, litellm_params: {model: openai/m, api_key: os.environ/NOWHERE}}", "litellm_params.api_key: the environment"),
        ("{model_name: e, litellm_params: {model: openai/m, api_base: my.host}}", "litellm_params.api_base: must begin"),
        ("{model_name: e, litellm_params: {model: openai/m, api_bse: 'http://h/v1'}}", "litellm_params.api_bse: unknown key"),
        ("{model_name: e}", "litellm_params: is missing"),
        ("{litellm_params: {model: openai/m}}", "model_name: is missing"),
        ("text", "must be a mapping, not text"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_used_is_left_out_of_a_file_of_litellms(load: Any, entry: str, why: str) -> None:
    text = MODELS.replace("  - model_name: b", f"  - {entry}\n  - model_name: b")
    config = load(text + "litellm_settings: {drop_params: true, fallbacks: [{a: [e, b]}]}")
    assert [model.model_name for model in config.model_list] == ["a", "b"]
    assert config.fallback_table().on_failure == {"a": ("b",)}
    first, *_ = config.warnings
    assert first.startswith(f"model_list[1] is not served: {why}")


def test_in_a_file_of_ours_an_entry_that_cannot_be_used_is_a_mistake(refuse: Any) -> None:
    entry = "  - {model_name: e, litellm_params: {model: openai/m, api_base: my.host}}\n"
    keys = "keys: [{id: k, secret: sk-k-0123456789}]\n"
    [sentence] = refuse(MODELS + entry + keys + "litellm_settings: {drop_params: true}")
    assert sentence == "line 6: model_list[2].litellm_params.api_base: must begin with http:// or https://"


def test_where_no_entry_can_be_used_each_is_named(refuse: Any) -> None:
    text = """\
model_list:
  - {model_name: e, litellm_params: {model: azure/whisper-1}}
  - {model_name: p, litellm_params: {model: azure/gpt-image-1}}
general_settings: {}
"""
    first, second = refuse(text)
    assert first.startswith("line 2: model_list[0]: is not served: a model of this name answers in no protocol")
    assert second.startswith("line 3: model_list[1]: is not served")


def test_what_is_left_out_moves_no_line_of_what_follows(refuse: Any) -> None:
    text = """\
model_list:
  - {model_name: e, litellm_params: {model: openai/whisper-1}}
  - {model_name: a, litellm_params: {model: openai/m}}
  - {model_name: b, litellm_params: {model: openai/m, timeout: soon}}
keys: [{id: k, secret: sk-k-0123456789}]
"""
    assert refuse(text) == ["line 4: model_list[2].litellm_params.timeout: must be a number, not text"]


def test_models_say_what_they_are_for_before_their_names_do(load: Any) -> None:
    text = "model_list: [{model_name: a, litellm_params: {model: openai/embedding-chat}, model_info: {mode: chat}}]"
    assert [model.model_name for model in load(text).model_list] == ["a"]


def test_without_models_the_demo_model_is_served_and_that_is_said(load: Any) -> None:
    for text in ("model_list: []\n", "model_list:\n", ""):
        config = load(text + "general_settings: {store_model_in_db: true}")
        assert [model.model_name for model in config.model_list] == ["demo/echo"]
        assert config.warnings[-1] == "there is no model_list, so the demo model is served"


def test_a_wrong_value_in_a_section_of_litellms_is_named_and_the_others_count(load: Any) -> None:
    config = load(MODELS + "router_settings: {num_retries: many, cooldown_time: 3, allowed_fails: -1}")
    assert (config.num_retries, config.cooldown_time, config.allowed_fails) == (None, 3, None)
    assert config.warnings == (
        "router_settings.num_retries is ignored: must be a whole number, not text",
        "router_settings.allowed_fails is ignored: must be at least 0",
    )


def test_the_variables_of_the_file_are_for_whoever_starts_a_process_with_it(load: Any) -> None:
    config = load(MODELS + "environment_variables: {A: 1, B: os.environ/OUT, C: os.environ/NOWHERE}", {"OUT": "o"})
    assert config.variables == {"A": "1", "B": "o"}


def test_the_number_of_models_costs_no_more_than_in_proportion(load: Any) -> None:
    entries = "".join(
        f"  - {{model_name: m{i}, litellm_params: {{model: openai/m, api_base: bad}}}}\n" for i in range(1000)
    )
    config = load(f"{MODELS}{entries}litellm_settings: {{}}")
    assert (len(config.model_list), len(config.warnings)) == (2, 1000)


@pytest.mark.parametrize(
    ("entry", "served"),
    [
        ("{model: openai/dall-e-3}}, model_info: {mode: image_generation}", True),
        ("{model: openai/dall-e-3}}", True),
        ("{model: openai/gpt-image-2}}, model_info: {mode: image_edit}", True),
        ("{model: gemini/pictures}}, model_info: {mode: image_edit}", False),
        ("{model: whisper-1}}, model_info: {mode: audio_transcription}", True),
        ("{model: hosted_vllm/bge-reranker, api_base: 'http://h/v1'}}, model_info: {mode: rerank}", True),
        ("{model: cohere/rerank-4, api_base: 'http://h/v1'}}, handler: direct, model_info: {mode: rerank}", True),
        ("{model: cohere/rerank-4}}, model_info: {mode: rerank}", False),
        ("{model: openai/dall-e-3}}, handler: litellm, model_info: {mode: image_generation}", False),
        ("{model: openai/sora-2}}, model_info: {mode: video_generation}", False),
        ("{model: imagen-4.0}}", False),
    ],
)
def test_a_model_of_a_protocol_that_passes_is_served_where_its_upstream_has_openais_wire(
    load: Any,
    entry: str,
    served: bool,
) -> None:
    written = entry.replace("}}", "}", 1)
    text = MODELS.replace("  - model_name: b", f"  - {{model_name: e, litellm_params: {written}}}\n  - model_name: b")
    config = load(text + "litellm_settings: {drop_params: true}")
    assert ("e" in [model.model_name for model in config.model_list]) is served


def test_a_mode_that_litellm_does_not_have_keeps_no_model_from_being_served(load: Any) -> None:
    text = MODELS.replace("api_key: x}", "api_key: x}\n    model_info: {mode: embeddings}")
    config = load(text + "litellm_settings: {}")
    assert [entry.model_name for entry in config.model_list] == ["a", "b"]
    assert config.deployments()[0].protocols is None
    assert config.warnings == (
        "model_list[0].model_info.mode is unknown, did you mean 'embedding'?: a mode that LiteLLM does not have says "
        "nothing about a model, there and here",
    )


@pytest.mark.parametrize(
    ("environ", "served", "warning"),
    [
        ({"LITELLM_ENVIRONMENT": "staging"}, ["a", "b"], ()),
        (
            {"LITELLM_ENVIRONMENT": "production"},
            ["b"],
            (
                "model_list[0] is not served: LITELLM_ENVIRONMENT is production, which model_info.supported_environments "
                "does not name",
            ),
        ),
        (
            {},
            ["a", "b"],
            (
                "model_list[0].model_info.supported_environments is ignored: LITELLM_ENVIRONMENT is not set, without which "
                "LiteLLM would not start",
            ),
        ),
    ],
)
def test_a_model_for_other_environments_is_not_served(
    load: Any, environ: dict[str, str], served: list[str], warning: tuple[str, ...]
) -> None:
    info = "model_info: {supported_environments: [development, staging]}"
    config = load(MODELS.replace("api_key: x}", f"api_key: x}}\n    {info}") + "litellm_settings: {}", environ)
    assert [entry.model_name for entry in config.model_list] == served
    assert config.warnings == warning


def test_an_entry_with_several_organizations_is_one_for_each(load: Any, refuse: Any) -> None:
    """They take turns, as in LiteLLM; what is wrong with one of them stands at the line of the entry."""
    entry = """\
model_list:
  - model_name: a
    litellm_params: {model: openai/m, api_key: x, organization: [org-1, org-2]}
  - model_name: b
    litellm_params: {model: openai/m, api_key: x}
"""
    config = load(entry)
    asked = [(each.name, each.parameters.get("organization")) for each in config.deployments()]
    assert asked == [("a", "org-1"), ("a", "org-2"), ("b", None)]
    wrong = entry.replace("model: openai/m, api_key: x}", "model: openai/m, api_key: x, timeout: soon}")
    assert [problem.partition(":")[0] for problem in refuse(f"{wrong}cooldown_time: 4\n")] == ["line 5"]


def test_json_logs_are_the_format_of_our_log(load: Any) -> None:
    assert load(MODELS + "litellm_settings: {json_logs: true}").log.format == "json"
    assert load(MODELS + "litellm_settings: {json_logs: false}").log.format == "text"
    assert load(MODELS + "litellm_settings: {json_logs: true}\nlog: {format: text}").log.format == "text"
