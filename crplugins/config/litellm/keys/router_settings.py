"""The keys of `router_settings`."""

from typing import Final

from crplugins.config.litellm.keys.group import KeyGroup

ROUTER: Final = (
    KeyGroup(
        "router_settings", "mapped", "the same word at the top of the file",
        "num_retries retry_policy cooldown_time allowed_fails fallbacks context_window_fallbacks "
        "content_policy_fallbacks default_fallbacks timeout stream_timeout routing_strategy",
    ),
    KeyGroup(
        "router_settings", "mapped", "'retry_policy' of the models of the group",
        "model_group_retry_policy",
    ),
    KeyGroup(
        "router_settings", "mapped", "'cooldown_time: 0'",
        "disable_cooldowns",
    ),
    KeyGroup(
        "router_settings", "mapped", "'aliases'",
        "model_group_alias",
    ),
    KeyGroup(
        "router_settings", "mapped", "litellm_params of every model",
        "default_litellm_params",
    ),
    KeyGroup(
        "router_settings", "mapped", "'limits.per_deployment.max_parallel_requests'",
        "default_max_parallel_requests",
    ),
    KeyGroup(
        "router_settings", "mapped", "'affinity_seconds'",
        "deployment_affinity_ttl_seconds",
    ),
    KeyGroup(
        "router_settings", "honoured",
        "an entry of model_list that cannot be used is left out, and the others are served",
        "ignore_invalid_deployments",
    ),
    KeyGroup(
        "router_settings", "honoured",
        "a prompt that a provider calls too long goes to a model of the name that takes it, and to "
        "context_window_fallbacks",
        "enable_pre_call_check enable_pre_call_checks",
    ),
    KeyGroup(
        "router_settings", "honoured",
        "another deployment of the name, by its weight, answers in the place of one that fails",
        "enable_weighted_failover",
    ),
    KeyGroup(
        "router_settings", "honoured", "a key that may not call a fallback, or has no budget for it, does not get it",
        "fallback_access_check fallback_budget_check",
    ),
    KeyGroup(
        "router_settings", "warned", "a request goes to 5 other names at most",
        "max_fallbacks",
    ),
    KeyGroup(
        "router_settings", "warned", "write 'on_break', which says what becomes of a stream that breaks",
        "enable_mid_stream_fallback_continuation",
    ),
    KeyGroup(
        "router_settings", "warned", "'allowed_fails' counts all failures",
        "allowed_fails_policy",
    ),
    KeyGroup(
        "router_settings", "warned",
        "a provider names the time itself, and else pauses grow from a quarter of a second",
        "retry_after",
    ),
    KeyGroup(
        "router_settings", "warned", "'num_retries' says it",
        "max_retries",
    ),
    KeyGroup(
        "router_settings", "warned", "write 'weight' beside each model_name",
        "weights",
    ),
    KeyGroup(
        "router_settings", "warned", "a session stays with one deployment, see 'affinity_seconds'",
        "optional_pre_call_checks model_group_affinity_config session_affinity_repin_on_failover",
    ),
    KeyGroup(
        "router_settings", "warned", "write 'routing_strategy' beside each model_name",
        "routing_groups",
    ),
    KeyGroup(
        "router_settings", "warned", "deployments that are as fast to a tenth take turns, and old times fade",
        "routing_strategy_args",
    ),
    KeyGroup(
        "router_settings", "warned", "write 'limits.store'",
        "redis_* cache_kwargs",
    ),
    KeyGroup(
        "router_settings", "warned",
        "no answer is kept for another request; write a plugin of your own under 'plugins'",
        "cache_responses caching_groups",
    ),
    KeyGroup(
        "router_settings", "warned",
        "a key of a client says which models it may call, see 'keys[].models', and 'aliases' who gets which",
        "enable_tag_filtering tag_filtering_match_any tag_routing_prefix",
    ),
    KeyGroup(
        "router_settings", "warned", "write 'health_check', which asks for the list of models",
        "*health_check_*",
    ),
    KeyGroup(
        "router_settings", "warned", "write 'budgets'",
        "provider_budget_config",
    ),
    KeyGroup(
        "router_settings", "warned", "write 'priority' into a key, and 'limits.queue'",
        "default_priority polling_interval",
    ),
    KeyGroup(
        "router_settings", "warned", "write 'drop_params' into litellm_params",
        "fallback_on_unsupported_params",
    ),
    KeyGroup(
        "router_settings", "warned", "put the models at the top of the file, under 'model_list'",
        "model_list",
    ),
    KeyGroup(
        "router_settings", "warned", "it sets up LiteLLM's own objects, logs and alerts",
        "alerting_config assistants_config auto_router_capability_limit client_ttl debug_level set_verbose "
        "guardrail_list plugins router_general_settings search_tools self",
    ),
)  # fmt: skip
