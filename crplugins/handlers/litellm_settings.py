"""Which names in `litellm_params` speak to litellm, and which are parameters of a request, for every handler.

From a client they would choose the address, the credentials and the headers of the upstream call, so the litellm
handler takes none of them. In `litellm_params` they set litellm up, its logging services and their secrets included, so
the direct handler, which has no use for them, sends none of them. What is neither is sent by nobody: a provider's own
parameter that is not on the list here stands under `extra_body`.
"""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.parameters import CHAT_PARAMETERS, normal_form

SETTINGS: Final = frozenset({
    "additional_drop_params", "allowed_openai_params", "api_base", "api_key", "api_version", "base_url", "callbacks",
    "client", "custom_llm_provider", "default_headers", "default_query", "deployment_id", "drop_params", "extra_body",
    "extra_headers", "extra_query", "failure_callback", "fallbacks", "headers", "hf_model_name", "http_client",
    "input_cost_per_token", "max_retries", "model_list", "num_retries", "organization", "output_cost_per_token",
    "proxy", "region_name", "request_timeout", "ssl_verify", "stream_timeout", "success_callback", "timeout",
})  # fmt: skip
"""litellm's settings for address, credentials and transport."""

PREFIXES: Final = ("api", "aws", "azure", "litellm", "mock", "s3", "vertex")
"""Of the normal forms of more of them."""

# The litellm handler asks the loaded litellm for these. A test holds them against its list.
_OF_DEPLOYMENTS: Final = frozenset({
    "acompletion", "aembedding", "aimg_generation", "allm_passthrough_route", "allow_client_keepalive_override",
    "allowed_model_region", "assistant_continue_message", "async_call", "atext_completion", "attempted_targets",
    "base_model", "bedrock_tags", "bos_token", "budget_duration", "cache", "cache_control_injection_points",
    "cache_key", "caching", "caching_groups", "client_id", "client_side_timeout", "complete_response",
    "completion_call_id", "configurable_clientside_auth_params", "context_window_fallback_dict", "cooldown_time",
    "custom_prompt_dict", "daily_reset_time", "data_residency", "dd_agent_host", "dd_agent_port", "dd_site",
    "disable_add_transform_inline_image_block", "enable_json_schema_validation", "enable_prompt_caching",
    "enable_tag_filtering", "ensure_alternating_roles", "eos_token", "fallback_depth", "fastest_response",
    "fedramp_uplift_multiplier", "final_prompt_value", "fireworks_forward_user_id", "force_timeout", "guardrails",
    "id", "initial_prompt_value", "itpm", "keepalive_seconds", "kubernetes_pod_discovery",
    "log_client_error_tracebacks", "logger_fn", "max_agentic_loops", "max_budget", "max_fallbacks",
    "max_file_size_mb", "max_parallel_requests", "merge_reasoning_content_in_choices", "model_alias_map",
    "model_config", "model_file_id_mapping", "model_id", "model_info", "no-log", "order", "otpm",
    "output_vector_size", "preset_cache_key", "prompt_environment", "prompt_id", "prompt_label", "prompt_variables",
    "prompt_version", "provider_affinity_header", "provider_specific_header", "proxy_server_request",
    "responses_api_version", "retry_policy", "retry_strategy", "roles", "routing_strategy", "rpd", "rpm", "rust",
    "search_tool_name", "self", "shared_session", "silent_model", "stream_chunk_size", "stream_response",
    "stream_timeout_by_service_tier", "supports_system_message", "tag_regex", "tags", "tenant_id",
    "text_completion", "thought_signature_in_tool_call_id", "timeout_by_service_tier", "tpd", "tpm", "ttl",
    "turn_off_message_logging", "use_chat_completions_api", "use_client", "use_in_pass_through",
    "use_litellm_proxy", "use_psc_endpoint_format", "use_xai_oauth", "user_continue_message", "verbose", "weight",
})  # fmt: skip

_FAMILIES: Final = (
    "adaptiverouter", "anthropic", "arize", "autorouter", "bedrock", "cloudflare", "complexityrouter", "databricks",
    "gcs", "gdc", "githubcopilot", "humanloop", "langfuse", "langsmith", "newrelic", "oci", "openai", "posthog",
    "predibase", "qualityrouter", "regional", "sap", "signoz", "snowflake", "switchyard", "tokenexchange", "wandb",
    "watsonx", "weave",
)  # fmt: skip

_SECRET: Final = ("accesskey", "apikey", "authfile", "credential", "password", "privatekey", "publickey", "secret")
"""What names of secrets hold, those of later releases of litellm too; no parameter of a request does."""

_NAMES: Final = frozenset(map(normal_form, SETTINGS | _OF_DEPLOYMENTS))

DROPPED: Final = "additional_drop_params"

HEADERS: Final = ("default_headers", "headers", "extra_headers")
"""The words under which `litellm_params` add headers."""


PROVIDER_PARAMETERS: Final = frozenset({
    "adapter_base", "adapter_id", "adapter_source", "best_of", "cache_control", "cache_prompt", "chat_template",
    "chat_template_kwargs", "citations", "container", "context_management", "do_sample", "documents",
    "enable_thinking", "format", "grammar", "guardrailConfig", "guided_choice", "guided_decoding_backend",
    "guided_grammar", "guided_json", "guided_regex", "id_slot", "ignore_eos", "include_reasoning",
    "include_stop_str_in_output", "inference_geo", "json_schema", "keep_alive", "length_penalty", "max_new_tokens",
    "mcp_servers", "min_p", "min_tokens", "mirostat", "mirostat_eta", "mirostat_tau", "models", "num_ctx",
    "num_gpu", "num_predict", "num_thread", "options", "output_config", "performanceConfig", "plugins", "priority",
    "project_id", "prompt_logprobs", "provider", "random_seed", "raw", "reasoning", "reasoning_format",
    "repeat_last_n", "repeat_penalty", "repetition_penalty", "requestMetadata", "return_full_text", "return_images",
    "return_related_questions", "route", "safe_prompt", "safety_settings", "search_domain_filter", "search_mode",
    "search_parameters", "search_recency_filter", "serviceTier", "skip_special_tokens", "space_id",
    "spaces_between_special_tokens", "stop_token_ids", "structured_outputs", "tfs_z", "think", "thinking",
    "thinking_budget", "top_a", "top_k", "transforms", "truncate_prompt_tokens", "typical_p", "use_beam_search",
})  # fmt: skip
"""What Anthropic, Bedrock, vLLM, llama.cpp, Ollama, OpenRouter, Perplexity and others document beside OpenAI's."""

_SENT: Final = (CHAT_PARAMETERS | PROVIDER_PARAMETERS) - {"messages", "model", "stream", "stream_options"}


def is_parameter(name: str) -> bool:
    """Whether `name` in `litellm_params` is a parameter of a request, with the value for clients that give none."""
    return name in _SENT


def is_setting(name: str) -> bool:
    """Whether `name` in `litellm_params`, in any spelling, is a setting and no parameter of a request."""
    form = normal_form(name)
    if form in _NAMES or name.startswith("_") or form.startswith(PREFIXES + _FAMILIES):
        return True
    return any(word in form for word in _SECRET)


def headers_in(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The headers that `litellm_params` add, in any of litellm's words, as text. Without a value there is none.

    Of a header that stands in several the last one counts, `extra_headers` being the last.
    """
    given = [word for word in HEADERS if word in parameters]
    return {name: value for word in given for name, value in header_texts(parameters[word]).items()}


def header_texts(headers: object) -> dict[str, str]:
    """Some headers as text: a number and a truth value as YAML writes them."""
    given = headers.items() if isinstance(headers, Mapping) else ()
    return {str(name): _text(value) for name, value in given if value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
