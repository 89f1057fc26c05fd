"""Every key that LiteLLM's proxy documents, or that its models and code read, and what becomes of it here.

A name counts where it stands by itself; else the first row of its section with a name that fits, where `*` stands for
any text. What stands below a key shares its fate.

    honoured  it counts, under the same name and with the same meaning, or what it asks for is always so here
    mapped    it counts, as the key of ours that the text names
    warned    it does not count; a warning names it, and says what to write instead
    refused   it does not count, and nothing does in its place: the text says why

Sections: `file` is the top level, `entry` an entry of `model_list`, `litellm_params` and `model_info` stand in one.
https://docs.litellm.ai/docs/proxy/config_settings
"""

from typing import Final, Literal, NamedTuple

KeyFateKind = Literal["honoured", "mapped", "warned", "refused"]


class KeyGroup(NamedTuple):
    """Keys of a section, separated by spaces, that share a fate; `say` is the sentence about it, without its end."""

    section: str
    fate: KeyFateKind
    say: str
    names: str


KEYS: Final = (
    KeyGroup(
        "file", "honoured", "the models, in LiteLLM's own format",
        "model_list",
    ),
    KeyGroup(
        "file", "honoured", "each of its keys has a line of its own",
        "litellm_settings general_settings router_settings",
    ),
    KeyGroup(
        "file", "mapped", "the file is read, and its keys have lines of their own",
        "include",
    ),
    KeyGroup(
        "file", "mapped", "written into the models that name the credential",
        "credential_list",
    ),
    KeyGroup(
        "file", "mapped", "the environment of `crplugins serve`, and of ${NAME} and os.environ/NAME in this file",
        "environment_variables",
    ),
    KeyGroup(
        "file", "mapped", "'aliases'",
        "model_group_alias",
    ),
    KeyGroup(
        "file", "honoured", "a place for anchors, which count where they are merged",
        "x-* x_* _* .*",
    ),
    KeyGroup(
        "file", "warned",
        "write a plugin of your own under 'plugins' that looks at requests and answers, or run the guardrail "
        "before the gateway",
        "guardrails policies policy_attachments",
    ),
    KeyGroup(
        "file", "warned", "the gateway serves chat completions; leave these to LiteLLM's proxy beside it",
        "agent_list agents assistant_settings files_settings finetune_settings mcp_aliases mcp_servers "
        "mcp_tools prompts sandbox_tools search_tools vector_store_registry",
    ),
    KeyGroup(
        "file", "warned", "write 'metrics', 'ledger', 'tracing' or 'plugins'",
        "callback_settings callbacks success_callback failure_callback",
    ),
    KeyGroup(
        "file", "warned", "write vertex_project, vertex_location and vertex_credentials into litellm_params",
        "default_vertex_config",
    ),
    KeyGroup(
        "file", "warned", "write 'keys.jwt'",
        "litellm_jwtauth",
    ),
    KeyGroup(
        "file", "warned", "it configures LiteLLM's own processes; `crplugins serve --workers N` has its own",
        "worker_registry",
    ),
    KeyGroup(
        "entry", "honoured", "as in LiteLLM",
        "model_name litellm_params model_info rpm tpm max_parallel_requests",
    ),
    KeyGroup(
        "entry", "warned", "write one under litellm_params",
        "model api_key api_base api_version base_url organization custom_llm_provider",
    ),
    KeyGroup(
        "entry", "warned", "write it under model_info",
        "base_model mode id description access_groups metadata",
    ),
    KeyGroup(
        "entry", "warned", "a key of a client says which models it may call, see 'keys[].models'",
        "tags tag_regex team_id",
    ),
    KeyGroup(
        "entry", "warned", "write 'limits' and 'budgets', or rpm and tpm",
        "itpm otpm rpd tpd max_budget budget_duration default_api_key_rpm_limit default_api_key_tpm_limit",
    ),
    KeyGroup(
        "entry", "refused", "no client chooses the address, the credentials or the headers of an upstream",
        "configurable_clientside_auth_params use_in_pass_through",
    ),
    KeyGroup(
        "litellm_params", "honoured", "as in LiteLLM",
        "model api_base base_url api_key ssl_verify ssl_certificate max_retries rpm tpm max_parallel_requests "
        "num_retries retry_policy cooldown_time order weight fallbacks timeout stream_timeout request_timeout",
    ),
    KeyGroup(
        "litellm_params", "honoured", "a default for requests that do not say it",
        "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens "
        "metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key "
        "prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed "
        "service_tier stop store temperature tool_choice tools top_logprobs top_p user verbosity "
        "web_search_options",
    ),
    KeyGroup(
        "litellm_params", "honoured", "merged into the request, or sent as headers, or taken off it",
        "extra_body extra_headers headers default_headers organization additional_drop_params",
    ),
    KeyGroup(
        "litellm_params", "honoured",
        "for models that litellm translates; a server that speaks OpenAI's wire is sent what the client sends",
        "drop_params allowed_openai_params",
    ),
    KeyGroup(
        "litellm_params", "honoured", "how litellm calls the provider",
        "api_version base_model cache_control_injection_points client_id client_secret custom_llm_provider "
        "custom_prompt_dict data_residency deployment_id disable_add_transform_inline_image_block "
        "enable_json_schema_validation enable_prompt_caching ensure_alternating_roles user_continue_message "
        "assistant_continue_message fireworks_forward_user_id force_timeout hf_model_name "
        "initial_prompt_value final_prompt_value bos_token eos_token roles merge_reasoning_content_in_choices "
        "mock_response mock_timeout model_id region_name responses_api_version supports_system_message "
        "tenant_id text_completion thought_signature_in_tool_call_id use_chat_completions_api "
        "use_litellm_proxy use_psc_endpoint_format use_xai_oauth watsonx_region_name provider_specific_header "
        "rust stream_chunk_size stream_response keepalive_seconds chatgpt_auth_file litellm_system_prompt "
        "litellm_request_debug proxy extra_query default_query azure* aws_* vertex_* bedrock_* anthropic_* "
        "openai_* github_copilot_* token_exchange_* oci_* sap_* gdc_* snowflake_* databricks_* cloudflare_* "
        "predibase_* watsonx_*",
    ),
    KeyGroup(
        "litellm_params", "mapped", "model_info, as a price",
        "*cost_per_* *token_cost* tiered_pricing *_uplift_multiplier*",
    ),
    KeyGroup(
        "litellm_params", "mapped", "the values of the credential of this name",
        "litellm_credential_name",
    ),
    KeyGroup(
        "litellm_params", "refused", "no client chooses the address, the credentials or the headers of an upstream",
        "configurable_clientside_auth_params allow_client_keepalive_override provider_affinity_header "
        "use_in_pass_through",
    ),
    KeyGroup(
        "litellm_params", "refused", "the library sets it for each call",
        "_* acompletion aembedding aimg_generation allm_passthrough_route async_call atext_completion "
        "attempted_targets azure client client_side_timeout complete_response completion_call_id "
        "fallback_depth id litellm_call_id litellm_logging_obj litellm_metadata litellm_session_id "
        "litellm_trace_id litellm_trusted_callback_vars litellm_disabled_callbacks logger_fn model_alias_map "
        "model_config model_file_id_mapping model_info model_list no-log preset_cache_key "
        "proxy_server_request secret_fields self shared_session use_client verbose http_client "
        "context_window_fallback_dict retry_strategy fastest_response max_fallbacks "
        "log_client_error_tracebacks",
    ),
    KeyGroup(
        "litellm_params", "warned", "write 'limits' and 'budgets', or rpm and tpm",
        "itpm otpm rpd tpd max_budget budget_duration daily_reset_time default_api_key_rpm_limit "
        "default_api_key_tpm_limit",
    ),
    KeyGroup(
        "litellm_params", "warned",
        "a key of a client says which models it may call, see 'keys[].models', and 'aliases' who gets which",
        "tags tag_regex enable_tag_filtering allowed_model_region",
    ),
    KeyGroup(
        "litellm_params", "warned", "write 'timeout' or 'first_token_timeout', which hold for every service tier",
        "timeout_by_service_tier stream_timeout_by_service_tier",
    ),
    KeyGroup(
        "litellm_params", "warned", "it belongs beside litellm_params",
        "handler forward_trace affinity_seconds routing_strategy",
    ),
    KeyGroup(
        "litellm_params", "warned", "no answer is kept for another request; write a plugin of your own under 'plugins'",
        "cache caching cache_key caching_groups ttl",
    ),
    KeyGroup(
        "litellm_params", "warned", "records are in 'ledger', spans in 'tracing'; nothing is sent to a logging service",
        "callbacks success_callback failure_callback input_callback langfuse_* langsmith_* arize_* posthog_* "
        "wandb_* weave_* dd_* newrelic_* signoz_* humanloop_* gcs_* turn_off_message_logging",
    ),
    KeyGroup(
        "litellm_params", "warned", "write a plugin of your own under 'plugins'",
        "guardrails prompt_* auto_router_* adaptive_router_* complexity_router_* quality_router_* "
        "switchyard_router_config silent_model max_agentic_loops search_tool_name vector_store_ids",
    ),
    KeyGroup(
        "litellm_params", "warned", "it is for other APIs than chat completions",
        "s3_* valkey_* milvus_* vector_bucket_name vector_store_id embedding_model bucket_name index_name "
        "output_vector_size max_file_size_mb allow_legacy_cloud_file_ids ocr_cost_per_credit "
        "kubernetes_pod_discovery voice input_type",
    ),
    KeyGroup(
        "model_info", "honoured", "a price, or a model that prices or abilities are looked up by",
        "*cost_per_* *token_cost* tiered_pricing base_model off_peak_pricing *_uplift_multiplier* "
        "supports_assistant_prefill pricing_provider",
    ),
    KeyGroup(
        "model_info", "honoured", "in which protocols a model is asked as it is, and whether it can be told to think",
        "mode supported_endpoints supports_reasoning",
    ),
    KeyGroup(
        "model_info", "honoured", "a model that is blocked is not served",
        "blocked",
    ),
    KeyGroup(
        "model_info", "honoured", "a model is served where LITELLM_ENVIRONMENT is one of them",
        "supported_environments",
    ),
    KeyGroup(
        "model_info", "honoured", "kept as a note about the model; nothing here depends on it",
        "id description key litellm_provider max_* supports_* supported_* db_model updated_at updated_by "
        "created_at created_by metadata* version tier discoverable output_vector_size provider_specific_entry "
        "reasoning_* default_reasoning_effort token_count_* thinking_* use* bedrock_* search_* "
        "vertex_ai_audio_api web_search_billing_unit prompt_cache_min_tokens custom_tokenizer rpm tpm "
        "adaptive_router_*",
    ),
    KeyGroup(
        "model_info", "warned", "write 'health_check' beside litellm_params, which asks for the list of models",
        "health_check_* disable_background_health_check",
    ),
    KeyGroup(
        "model_info", "warned", "write 'keys[].models' and 'team_aliases'",
        "access_groups team_id team_public_model_name access_windows member_auto_router enable_tag_filtering "
        "allow_fail_open enforce_supported_endpoints",
    ),
    KeyGroup(
        "model_info", "warned", "capacity that is paid by the hour has no price for each request here",
        "ptu_* cost_per_ptu_per_hour",
    ),
    KeyGroup(
        "model_info", "warned", "records name every deployment that was asked, see 'ledger'",
        "internal_router_model",
    ),
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
        "use_aiohttp_transport",
    ),
    KeyGroup(
        "general_settings", "mapped", "the key 'master-key' of 'keys', which may call every model",
        "master_key",
    ),
    KeyGroup(
        "general_settings", "warned",
        "write 'limits.per_key.max_parallel_requests' or 'limits.per_deployment.max_parallel_requests'; "
        "LiteLLM's texts name both",
        "max_parallel_requests",
    ),
    KeyGroup(
        "general_settings", "mapped", "'server.max_in_flight'",
        "global_max_parallel_requests max_in_flight_requests_per_worker",
    ),
    KeyGroup(
        "general_settings", "mapped", "'server.max_body_bytes'",
        "max_request_size_mb",
    ),
    KeyGroup(
        "general_settings", "mapped", "'health_check', which asks for the list of models and costs nothing",
        "background_health_checks health_check_interval enable_health_check_routing",
    ),
    KeyGroup(
        "general_settings", "mapped", "'aliases'",
        "model_group_alias",
    ),
    KeyGroup(
        "general_settings", "honoured", "a client that disconnects ends the upstream call, see 'on_disconnect'",
        "cancel_on_disconnect",
    ),
    KeyGroup(
        "general_settings", "honoured", "so it is always here",
        "disable_master_key_return hide_default_credentials_hint health_check_details disable_spend_logs "
        "disable_spend_updates enforce_fallback_model_access fail_closed_rate_limit_enforcement "
        "fail_closed_budget_enforcement disable_adding_master_key_hash_to_db disable_model_info_refresh "
        "disable_requester_ip_address_logging disable_error_logs",
    ),
    KeyGroup(
        "general_settings", "warned", "'x-request-id' stands on every answer, and in the log",
        "include_call_id_in_error_body",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'usage.metadata', which names what of a request's metadata is recorded",
        "reject_clientside_metadata_tags",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'num_retries' and 'retry_policy'",
        "disable_retry_on_max_parallel_request_limit_error",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'ledger.migrate: false'",
        "disable_prisma_schema_update",
    ),
    KeyGroup(
        "general_settings", "warned", "GET /v1/models lists a name with a * as it stands in model_list",
        "return_wildcard_routes",
    ),
    KeyGroup(
        "general_settings", "refused", "no header or key of a client reaches an upstream",
        "forward_client_headers_to_llm_api forward_openai_org_id forward_llm_provider_auth_headers "
        "allow_client_side_credentials use_client_credentials_pass_through_routes infer_model_from_keys",
    ),
    KeyGroup(
        "general_settings", "refused",
        "a client needs a key, and a limit that cannot be counted is one that holds, see "
        "'limits.on_store_error'",
        "allow_requests_on_db_unavailable dangerously_permit_weak_or_unset_master_key allow_user_auth",
    ),
    KeyGroup(
        "general_settings", "refused", "an error of an upstream is told without its address, its account and its keys",
        "expose_fallback_errors_to_caller",
    ),
    KeyGroup(
        "general_settings", "refused", "prompts and answers are not kept",
        "store_prompts_in_spend_logs spend_logs_prompt_storage",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'aliases', such as {'*': NAME}",
        "completion_model",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'keys: {sql: ...}' and 'ledger.url'",
        "database_*",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'ledger', which keeps a record of every request",
        "maximum_* proxy_batch_* use_spend_* spend_capture_rate_check spend_logs_metadata_fields "
        "use_redis_transaction_buffer scheduled_job_stagger request_tag_mappings track_unmanaged_batch_cost",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'keys: {jwt: ...}'",
        "enable_jwt_auth litellm_jwtauth enable_oauth2* oauth2_* role_permissions enforce_rbac",
    ),
    KeyGroup(
        "general_settings", "warned",
        "write the keys of clients under 'keys', each with its limits, budget, models, team and owner",
        "custom_auth custom_auth_run_common_checks custom_key_generate custom_key_policy custom_key_update "
        "custom_team_metadata_validate user_api_key_cache_* default_team_disabled "
        "disable_custom_api_keys service_account_settings disable_key_generate_for_org_admin disable_auto_* "
        "apply_user_budget_to_team_keys team_metadata_* coordination_redis use_team_public_model_name "
        "self_serve_* failed_login_* max_failed_login_*",
    ),
    KeyGroup(
        "general_settings", "warned", "write ${NAME} and let the platform put secrets into the environment or a file",
        "key_management_* use_azure_key_vault use_google_kms",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'budgets'",
        "*reset_budget* proxy_budget_* disable_budget_reservation",
    ),
    KeyGroup(
        "general_settings", "warned",
        "write 'limits.identity', which says where requests name their user and what becomes of those that do"
        " not",
        "enforce_user_param user_header_* missing_session_id enforced_params",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'limits.trusted_proxies'",
        "use_x_forwarded_for trusted_proxy_ranges",
    ),
    KeyGroup(
        "general_settings", "warned", "a key is 'Authorization Bearer'; a proxy before the gateway can rename a header",
        "litellm_key_header_name",
    ),
    KeyGroup(
        "general_settings", "warned",
        "let the proxy or the network before the gateway decide which addresses and paths it sees",
        "allowed_ips allowed_routes admin_only_routes public_routes",
    ),
    KeyGroup(
        "general_settings", "warned", "a client that asks for usage gets it on the last chunk, others do not",
        "always_include_stream_usage",
    ),
    KeyGroup(
        "general_settings", "warned",
        "limits count tokens of prompts and answers together, or with 'output_tokens_per_minute' those of "
        "answers",
        "token_rate_limit_type disable_fallbacks_on_per_model_rate_limits",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'health_check', which asks for the list of models",
        "*health_check* model_list_healthy_only",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'limits.queue' and 'server.max_in_flight'",
        "admission_queue_timeout_seconds max_queued_requests_per_worker",
    ),
    KeyGroup(
        "general_settings", "warned", "`crplugins rules export` writes Prometheus's alerts",
        "alert* spend_report_frequency",
    ),
    KeyGroup(
        "general_settings", "warned", "write 'metrics', 'ledger', 'tracing' or 'plugins'",
        "otel tracing plugins callbacks success_callback failure_callback",
    ),
    KeyGroup(
        "general_settings", "warned", "an answer may have 64 MiB",
        "max_response_size_mb",
    ),
    KeyGroup(
        "general_settings", "warned", "the gateway serves chat completions; leave it to LiteLLM's proxy beside it",
        "pass_through_endpoints pass_through_request_timeout mcp_* *mcp* disable_batch_input_file_rate_limiting "
        "max_batch_file_* skip_batch_input_file_rate_limiting_* allowed_file_extensions blocked_file_extensions "
        "max_file_downloads_per_minute max_file_size_mb embedding_model moderation_model image_generation_model "
        "search_tool* vector_store_* agent_* disable_responses_id_security "
        "responses_websocket_session_limit_seconds *websocket* *passthrough* *pass_through* "
        "transcribe_media_buckets *claude_code* skill_scanner allowed_client_side_s3_* allow_unmanaged_response_ids",
    ),
    KeyGroup(
        "general_settings", "warned", "nobody logs in; `crplugins keys`, the admin API and the page at / change keys",
        "ui_access_mode *_ui_* custom_sso custom_ui_sso_sign_in_handler password_policy_* disable_password_* "
        "*login* allow_cli_* *sso* enable_public_model_hub control_plane_url allow_public_health_readiness_details "
        "*env_credential* proxy_base_url",
    ),
    KeyGroup(
        "general_settings", "warned", "models and settings stand in this file",
        "store_model_in_db supported_db_objects proxy_config_reload_interval_seconds",
    ),
    KeyGroup(
        "general_settings", "warned", "it belongs to LiteLLM's own processes",
        "litellm_license enable_drain_endpoint drain_endpoint_token user_url_* "
        "provider_url_destination_allowed_hosts num_workers maximum_autorouter_* debug "
        "telemetry port host",
    ),
)  # fmt: skip
