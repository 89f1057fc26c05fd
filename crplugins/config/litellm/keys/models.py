"""The keys of the file's top level, and of an entry of `model_list`."""

from typing import Final

from crplugins.config.litellm.keys.group import KeyGroup

MODELS: Final = (
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
)  # fmt: skip
