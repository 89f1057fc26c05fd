"""Which names speak to litellm and are no parameters of a request to a provider, for every handler.

In `litellm_params` they set litellm up, so the direct handler sends none of them. From a client they would choose the
address, the credentials and the headers of the upstream call, so the litellm handler takes none of them.
"""

from typing import Final

from crplugins.core.parameters import normal_form

SETTINGS: Final = frozenset({
    "additional_drop_params", "allowed_openai_params", "api_base", "api_key", "api_version", "base_url",
    "bos_token", "budget_duration", "cache", "cache_control_injection_points", "callbacks", "client",
    "configurable_clientside_auth_params", "context_window_fallback_dict", "cooldown_time", "custom_llm_provider",
    "custom_prompt_dict", "default_headers", "default_query", "deployment_id", "drop_params", "eos_token", "extra_body",
    "extra_headers", "extra_query", "failure_callback", "fallbacks", "final_prompt_value", "guardrails", "headers",
    "hf_model_name", "http_client", "initial_prompt_value", "input_cost_per_token", "logger_fn", "max_budget",
    "max_retries", "merge_reasoning_content_in_choices", "model_config", "model_list", "no-log", "num_retries",
    "organization", "output_cost_per_token", "preset_cache_key", "prompt_id", "prompt_variables", "proxy",
    "region_name", "request_timeout", "retry_policy", "retry_strategy", "roles", "ssl_verify", "stream_timeout",
    "success_callback", "supports_system_message", "tags", "text_completion", "timeout", "use_chat_completions_api",
    "use_in_pass_through", "use_litellm_proxy",
})  # fmt: skip
"""litellm's settings for address, credentials, transport, prices and prompts."""

PREFIXES: Final = ("api", "aws", "azure", "inputcost", "litellm", "mock", "outputcost", "s3", "vertex")
"""Of the normal forms of more of them."""

_NAMES: Final = frozenset(map(normal_form, SETTINGS))


def is_setting(name: str) -> bool:
    """Whether `name`, in any spelling, is one of litellm's settings."""
    normal = normal_form(name)
    return normal in _NAMES or normal.startswith(PREFIXES)
