"""LiteLLM's own example files, as its wheel has them, and shapes of files that its users write."""

from importlib.util import find_spec
from pathlib import Path

_SPEC = find_spec("litellm")
assert _SPEC is not None
assert _SPEC.origin is not None

LITELLM = Path(_SPEC.origin).parent

_SECTIONS = ("model_list:", "general_settings:", "litellm_settings:")

EXAMPLES = sorted(
    file
    for pattern in ("*.yaml", "*.yml")
    for file in (LITELLM / "proxy").rglob(pattern)
    if any(line.startswith(_SECTIONS) for line in file.read_text(encoding="utf-8").splitlines())
)

NOT_SERVED = {
    "langfuse_config.yaml": "model_list[0].litellm_params: is missing",
}
"""Of those that have no model to serve, the reason."""

USERS = {
    "a gateway for a team": """\
# Our gateway
x-defaults: &defaults
  api_key: os.environ/OPENAI_API_KEY
  timeout: 60

model_list:
  # the fast one
  - model_name: fast  # for chats
    litellm_params:
      <<: *defaults
      model: openai/gpt-4o-mini
      rpm: 100
  - model_name: smart
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      api_key: os.environ/ANTHROPIC_API_KEY
      tags: [paid]   # for tag routing
      thinking: {type: enabled, budget_tokens: 1024}
    model_info: {mode: chat, team: x}
  - model_name: embed
    litellm_params: {model: openai/text-embedding-3-small, api_key: os.environ/OPENAI_API_KEY}
  - model_name: broken
    litellm_params: {model: openai/m, api_base: llm.example.com}

litellm_settings:
  drop_params: true
  num_retries: 2
  request_timeout: 90
  ssl_verify: false
  fallbacks: [{fast: [smart, embed]}, {smart: [fast]}, {nobody: [fast]}]
  cache: true
  cache_params: {type: redis, host: h, password: os.environ/REDIS_PASSWORD}
  success_callback: [langfuse]
router_settings:
  routing_strategy: usage-based-routing
  model_group_alias: {gpt-4: fast, gpt-5: {model: smart, hidden: true}}
  default_max_parallel_requests: 20
  disable_cooldowns: true
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  database_url: os.environ/DATABASE_URL
  max_request_size_mb: 5
""",
    "variables and credentials": """\
environment_variables: {AZURE_KEY: az-secret, OTHER: os.environ/OUTSIDE, UNUSED: "1"}
credential_list:
  - {credential_name: azure, credential_values: {api_key: os.environ/AZURE_KEY, api_base: "https://a.openai.azure.com"}}
model_list:
  - model_name: a
    litellm_params: {model: azure/gpt-4o, litellm_credential_name: azure, api_version: "2024-06-01"}
  - model_name: b
    litellm_params: {model: hosted_vllm/m, api_base: "http://h:8000/v1", api_key: "${OTHER}", top_k: 4, extra_body: {a: "$${X}"}}
""",
    "nothing but a list": """\
model_list:
  - {model_name: "*", litellm_params: {model: "*"}}
""",
}
