"""Which names speak to litellm and are no parameters of a request to a provider, for every handler.

From a client they would choose the address, the credentials and the headers of the upstream call, so the litellm
handler takes none of them. In `litellm_params` they set litellm up, its logging services and their secrets included, so
the direct handler, which has no use for them, sends none of them.
"""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.core.parameters import normal_form

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
    "fedramp_uplift_multiplier", "final_prompt_value", "fireworks_forward_user_id", "force_timeout", "guardrails", "id",
    "initial_prompt_value", "itpm", "keepalive_seconds", "kubernetes_pod_discovery", "log_client_error_tracebacks",
    "logger_fn", "max_agentic_loops", "max_budget", "max_fallbacks", "max_file_size_mb", "max_parallel_requests",
    "merge_reasoning_content_in_choices", "model_alias_map", "model_config", "model_file_id_mapping", "model_info",
    "no-log", "order", "otpm", "output_vector_size", "preset_cache_key", "prompt_environment", "prompt_id",
    "prompt_label", "prompt_variables", "prompt_version", "provider_affinity_header", "provider_specific_header",
    "proxy_server_request", "retry_policy", "retry_strategy", "roles", "routing_strategy", "rpd", "rpm", "rust",
    "responses_api_version", "search_tool_name", "self", "shared_session", "silent_model", "stream_chunk_size",
    "stream_response", "stream_timeout_by_service_tier", "supports_system_message", "tag_regex", "tags", "tenant_id",
    "text_completion", "thought_signature_in_tool_call_id", "timeout_by_service_tier", "tpd", "tpm", "ttl",
    "turn_off_message_logging", "use_chat_completions_api", "use_client", "use_in_pass_through", "use_litellm_proxy",
    "use_xai_oauth", "user_continue_message", "verbose", "weight",
})  # fmt: skip

_FAMILIES: Final = (
    "adaptiverouter", "anthropicdisable", "anthropicfederation", "anthropicidentity", "anthropicissuer",
    "anthropickeycloak", "anthropicorganization", "anthropicserviceaccount", "arize", "autorouter", "complexityrouter",
    "gcs", "githubcopilot", "humanloop", "langfuse", "langsmith", "newrelic", "openaiidentity", "openaiserviceaccount",
    "posthog", "qualityrouter", "regional", "signoz", "switchyard", "tokenexchange", "wandb", "weave",
)  # fmt: skip

_SECRET: Final = ("accesskey", "apikey", "authfile", "credential", "password", "privatekey", "publickey", "secret")
"""What names of secrets hold, those of later releases of litellm too; no parameter of a request does."""

_NAMES: Final = frozenset(map(normal_form, SETTINGS | _OF_DEPLOYMENTS))

_HEADERS: Final = ("default_headers", "headers", "extra_headers")


def is_setting(name: str) -> bool:
    """Whether `name` in `litellm_params`, in any spelling, is a setting and no parameter of a request."""
    form = normal_form(name)
    if form in _NAMES or name.startswith("_") or form.startswith(PREFIXES + _FAMILIES):
        return True
    return any(word in form for word in _SECRET)


def headers_in(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The headers that `litellm_params` add, in any of litellm's words; of values that are no text, their text.

    Of a header that stands in several the last one counts, `extra_headers` being the last.
    """
    given = [parameters.get(word) for word in _HEADERS]
    each = [headers.items() for headers in given if isinstance(headers, Mapping)]
    return {str(name): str(value) for items in each for name, value in items}
