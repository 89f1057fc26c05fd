"""ConfigWords: the keys of the configuration file as keywords of a Python call."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class ConfigWords(TypedDict, total=False):
    """The keys of `Config`, with the shapes they have in the file; None stands for one that is not given."""

    model_list: Sequence[Mapping[str, Any]] | None
    keys: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None
    aliases: Mapping[str, Any] | None
    team_aliases: Mapping[str, Mapping[str, Any]] | None
    response_model: Literal["requested", "served"] | None
    hidden_model_status: Literal[404, 403] | None
    models_shadow: bool | None
    limits: Mapping[str, Any] | None
    budgets: Mapping[str, Any] | None
    on_break: Literal["error", "restart", "continue"] | None
    hold_tokens: int | None
    hold_seconds: float | None
    on_disconnect: Literal["cancel", "drain"] | None
    missing_usage: Literal["estimate", "refuse", "free"] | None
    usage: Mapping[str, Any] | None
    prices: Mapping[str, Any] | None
    ledger: Mapping[str, Any] | None
    sinks: Mapping[str, Any] | None
    metrics: Mapping[str, Any] | None
    tracing: bool | None
    log: Mapping[str, Any] | None
    server: Mapping[str, Any] | None
    guard: Mapping[str, Any] | None
    responses: Mapping[str, Any] | None
    admin: Mapping[str, Any] | None
    webhooks: Sequence[Mapping[str, Any]] | None
    page: Mapping[str, Any] | bool | None
    plugins: Sequence[Any] | None
    timeout: float | None
    first_token_timeout: float | None
    stall_timeout: float | None
    stream_timeout: float | None
    request_timeout: float | None
    skip_malformed: int | None
    fallbacks: Sequence[Any] | Mapping[str, Any] | None
    context_window_fallbacks: Sequence[Any] | Mapping[str, Any] | None
    content_policy_fallbacks: Sequence[Any] | Mapping[str, Any] | None
    default_fallbacks: Sequence[str] | str | None
    num_retries: int | None
    retry_policy: Mapping[str, int] | None
    cooldown_time: float | None
    allowed_fails: int | None
    health_check: Mapping[str, float] | None
    routing_strategy: Literal["simple-shuffle", "least-busy", "latency-based-routing", "cost-based-routing"] | None
    affinity_seconds: float | None
