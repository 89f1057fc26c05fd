"""The sections of LiteLLM's file, and the words in them that have the same meaning at our top level.

https://docs.litellm.ai/docs/proxy/config_settings
"""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.handlers.routing.settings import STRATEGIES

SETTINGS: Final = ("litellm_settings", "general_settings", "router_settings")
"""Sections whose keys have a line each in the table."""

SECTIONS: Final = frozenset({
    *SETTINGS, "agent_list", "agents", "assistant_settings", "callback_settings", "callbacks", "credential_list",
    "default_vertex_config", "environment_variables", "failure_callback", "files_settings", "finetune_settings",
    "guardrails", "include", "litellm_jwtauth", "mcp_aliases", "mcp_servers", "mcp_tools", "model_group_alias",
    "policies", "policy_attachments", "prompts", "sandbox_tools", "search_tools", "success_callback",
    "vector_store_registry", "worker_registry",
})  # fmt: skip
"""The keys of LiteLLM's file beside `model_list`."""

DEADLINES: Final[Mapping[tuple[str, str], str]] = {
    ("router_settings", "timeout"): "timeout",
    ("router_settings", "stream_timeout"): "stream_timeout",
    ("litellm_settings", "request_timeout"): "request_timeout",
}
"""Deadlines for all models, and our key for each at the top of the file, which comes first."""

MOVED: Final = frozenset({
    "num_retries", "retry_policy", "cooldown_time", "allowed_fails", "routing_strategy", "fallbacks",
    "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks",
})  # fmt: skip
"""Words of `router_settings` and `litellm_settings` that have the same meaning at our top level."""

_OTHER_STRATEGIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("usage-based-routing", "usage-based-routing-v2"),
        "a deployment whose rpm or tpm is used up is passed over, and in place of usage-based-routing there is",
    ),
    "provider-budget-routing": "in place of provider-budget-routing there is",
}


def other_strategy(value: Any) -> str | None:
    """Why a `routing_strategy` of LiteLLM's is none of ours; None for one that is."""
    if value in STRATEGIES:
        return None
    return f"{_OTHER_STRATEGIES.get(str(value), 'it must be')} {' or '.join(STRATEGIES)}"


def is_seconds(value: Any) -> bool:
    """A number, or the name of a variable that holds one."""
    return isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0)
