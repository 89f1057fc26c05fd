"""The keys of `general_settings`."""

from typing import Final

from crplugins.config.litellm.keys.group import KeyGroup

GENERAL: Final = (
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
