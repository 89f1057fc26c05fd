"""The keys of `litellm_settings`."""

from typing import Final

from crplugins.config.litellm.keys.group import KeyGroup

LITELLM: Final = (
    KeyGroup(
        "litellm_settings", "honoured",
        "for models that litellm translates; a server that speaks OpenAI's wire is sent what the client sends",
        "drop_params",
    ),
    KeyGroup(
        "litellm_settings", "mapped", "the same word at the top of the file",
        "num_retries allowed_fails cooldown_time retry_policy fallbacks context_window_fallbacks "
        "content_policy_fallbacks default_fallbacks request_timeout routing_strategy",
    ),
    KeyGroup(
        "litellm_settings", "mapped", "the same word in litellm_params of every model",
        "ssl_verify ssl_certificate",
    ),
    KeyGroup(
        "litellm_settings", "mapped", "'aliases'",
        "model_alias_map model_group_alias",
    ),
    KeyGroup(
        "litellm_settings", "mapped", "'forward_trace' of every model",
        "forward_traceparent_to_llm_provider",
    ),
    KeyGroup(
        "litellm_settings", "mapped", "litellm_params of every model",
        "headers organization vertex_project vertex_location",
    ),
    KeyGroup(
        "litellm_settings", "honoured", "no prompt, answer or key of a client is ever logged",
        "turn_off_message_logging redact_user_api_key_info redact_messages_in_exceptions "
        "disable_streaming_logging global_disable_no_log_param suppress_debug_info suppress_startup_output",
    ),
    KeyGroup(
        "litellm_settings", "refused", "no prompt or answer is ever logged",
        "log_raw_request_response",
    ),
    KeyGroup(
        "litellm_settings", "honoured", "so it is always here",
        "disable_hf_tokenizer_download disable_copilot_system_to_assistant",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'ledger', whose records have the cost of every request",
        "include_cost_in_streaming_usage",
    ),
    KeyGroup(
        "litellm_settings", "refused", "no header or address of an upstream reaches a client",
        "return_response_headers expose_router_debug_in_errors",
    ),
    KeyGroup(
        "litellm_settings", "warned",
        "a request that a provider cannot take as it is gets a 400; write 'drop_params: true'",
        "modify_params",
    ),
    KeyGroup(
        "litellm_settings", "warned",
        "no answer is kept for another request; write a plugin of your own under 'plugins'",
        "cache cache_params caching enable_caching_on_provider_specific_optional_params "
        "enable_redis_auth_cache default_redis_* default_in_memory_ttl force_redis_hash_tag_grouping "
        "dynamodb_table_name",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'metrics', 'ledger', 'tracing' or 'plugins'",
        "callbacks success_callback failure_callback service_callback service_callbacks input_callback "
        "audit_log_callbacks batch_line_item_callbacks callback_settings langfuse_* langsmith_* datadog_* "
        "newrelic_* argilla_* s3_* aws_sqs_* gcs_* generic_* pointfive_* zerobus_* "
        "otel_tenant_destination_mode cold_storage_custom_logger standard_logging_payload_excluded_fields "
        "logged_real_time_event_types store_audit_logs error_logs allow_dynamic_callback_disabling",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'metrics', which has a closed set of labels",
        "prometheus_* custom_prometheus_* require_auth_for_metrics_endpoint *end_user_cost_tracking*",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'budgets'",
        "max_*budget* max_internal_user_budget budget_duration budget_* internal_user_budget_duration default_*budget* "
        "tag_budget_config default_soft_budget",
    ),
    KeyGroup(
        "litellm_settings", "warned",
        "write the keys of clients under 'keys', each with its limits, budget, models, team and owner",
        "default_team_* default_key_* default_key_generate_params default_internal_user_params default_end_user_params "
        "upperbound_* key_generation_settings key_alias_pattern enable_key_alias_format_validation "
        "personal_key_model_access_from_teams overwrite_user_with_key_hash scim_* validate_end_user_id_in_db "
        "add_user_information_to_llm_headers",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'priority' into keys, and 'server.max_in_flight'",
        "priority_reservation*",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write model_info with prices into the model",
        "cost_* model_cost* custom_pricing apply_search_free_tier",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'budgets.unknown_price'",
        "block_requests_for_models_without_pricing",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'usage.metadata'",
        "extra_spend_tag_headers disable_add_user_agent_to_request_tags",
    ),
    KeyGroup(
        "litellm_settings", "warned", "it is a key of general_settings, also for LiteLLM",
        "master_key",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write api_key, api_base and the like into litellm_params",
        "*_key *_api_key api_base api_version *_api_base token email project *_tenant_id proxy_auth "
        "credential_list common_cloud_provider_auth_params vertex_ai_safety_settings "
        "enable_azure_ad_token_refresh enable_model_config_credential_overrides max_tokens extra_headers "
        "additional_drop_params temperature timeout stream_timeout",
    ),
    KeyGroup(
        "litellm_settings", "warned",
        "upstreams are dialled as the operating system and OpenSSL do",
        "ssl_security_level ssl_ecdh_curve force_ipv4 http2 *aiohttp_tr*",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'server.stream_keep_alive_seconds'",
        "sse_keepalive_ping_interval_seconds anthropic_sse_ping_interval_seconds",
    ),
    KeyGroup(
        "litellm_settings", "warned", "a request goes to 5 other names at most",
        "max_fallbacks",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'num_retries'",
        "num_retries_per_request retry",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write 'context_window_fallbacks'",
        "longer_context_model_fallback_dict",
    ),
    KeyGroup(
        "litellm_settings", "warned", "write a plugin of your own under 'plugins'",
        "guardrails guardrail_name_config_map *guardrail* presidio_* output_parse_pii llamaguard_* "
        "llm_guard_mode banned_keywords_list blocked_user_list prompt_* global_* pre_call_rules "
        "post_call_rules *moderation* custom_provider_map azure_content_safety_params *_interception_params "
        "adapters responses custom_prompt_dict",
    ),
    KeyGroup(
        "litellm_settings", "warned",
        "the log of `crplugins serve` goes to stderr, and has no text of clients or providers; write "
        "'log.level: debug' for more of it",
        "set_verbose log_level debug detailed_debug",
    ),
    KeyGroup(
        "litellm_settings", "mapped", "'log.format: json'",
        "json_logs",
    ),
    KeyGroup(
        "litellm_settings", "warned",
        "the log of `crplugins serve` goes to stderr, and has no text of clients or providers",
        "logging log_client_error_tracebacks log_auth_failure_key_identity "
        "request_correlation_in_logs initialized_langfuse_clients",
    ),
    KeyGroup(
        "litellm_settings", "warned",
        "write it into the litellm_params of the models that need it, where litellm takes it there",
        "enable_anthropic_* anthropic_* bedrock_* gemini_* enable_gemini_* disable_anthropic_* "
        "disable_vertex_* disable_add_prefix_to_prompt disable_add_transform_inline_image_block "
        "disable_stop_sequence_limit LITELLM_DISABLE_STOP_SEQUENCE_LIMIT add_function_to_prompt "
        "enable_json_schema_validation enable_preview_features openai_system_messages_first reasoning_* "
        "route_all_chat_openai_to_responses use_chat_completions_url_for_anthropic_messages use_litellm_proxy "
        "strip_anthropic_total_tokens azure_llms known_tokenizer_config check_provider_endpoint openai_*",
    ),
    KeyGroup(
        "litellm_settings", "warned", "the gateway serves chat completions; leave it to LiteLLM's proxy beside it",
        "mcp_* public_* agent_* skill_* vector_store_* require_managed_files "
        "enable_loadbalancing_on_batch_endpoints *search_* max_ui_session_budget model_group_settings",
    ),
    KeyGroup(
        "litellm_settings", "warned", "it belongs to LiteLLM's own processes",
        "aclient_session client_session autorouter_presets_url blog_posts_url model_list model_list_set config_path "
        "network_mock litellm_mode models_by_provider provider_list secret_manager_client user_url_* "
        "provider_url_destination_allowed_hosts model_* safe_memory_mode request_timeout_explicitly_set "
        "use_client in_memory_llm_clients_cache *_transformation disable_token_counter filter_invalid_headers "
        "use_aiohttp_transport telemetry all_litellm_params",
    ),
)  # fmt: skip
