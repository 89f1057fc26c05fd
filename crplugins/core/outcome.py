"""How a request ended: one closed vocabulary for records, metrics and logs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

Outcome = Literal["ok", "client_error", "limited", "server_error", "cancelled"]

ErrorType = Literal[
    "",
    "invalid_request",
    "unauthenticated",
    "forbidden_model",
    "unknown_model",
    "upstream_4xx",
    "rate_limited",
    "token_limited",
    "budget_exceeded",
    "overloaded",
    "upstream_429",
    "upstream_5xx",
    "upstream_timeout",
    "upstream_connect",
    "upstream_stream_broken",
    "upstream_auth",
    "upstream_quota",
    "hook_error",
    "internal",
    "client_disconnected",
]
"""What went wrong; "" for nothing. Dashboards and alerts use these names."""

ERROR_TYPES: Final[tuple[ErrorType, ...]] = get_args(ErrorType)

HealthState = Literal["healthy", "cooling", "trial"]
"""Of a deployment. `cooling` until a request is its trial, also when the time is over and no request has come."""

HEALTH_STATES: Final[tuple[HealthState, ...]] = get_args(HealthState)

_GROUPS: Final[Mapping[Outcome, tuple[ErrorType, ...]]] = {
    "ok": ("",),
    "client_error": ("invalid_request", "unauthenticated", "forbidden_model", "unknown_model", "upstream_4xx"),
    "limited": ("rate_limited", "token_limited", "budget_exceeded"),
    "server_error": (
        "overloaded", "upstream_429", "upstream_5xx", "upstream_timeout", "upstream_connect", "upstream_stream_broken",
        "upstream_auth", "upstream_quota", "hook_error", "internal",
    ),
    "cancelled": ("client_disconnected",),
}  # fmt: skip

OUTCOMES: Final[Mapping[ErrorType, Outcome]] = MappingProxyType(
    {error_type: outcome for outcome, types in _GROUPS.items() for error_type in types}
)
"""The outcome is a function of the error type."""

_OURS: Final[Mapping[int, ErrorType]] = {
    401: "unauthenticated",
    403: "forbidden_model",
    429: "rate_limited",
    503: "overloaded",
}


def refused_with(status: int) -> ErrorType:
    """What a refusal of our own with this status means, where it does not say more."""
    return _OURS.get(status) or ("internal" if status >= 500 else "invalid_request")


def answered_with(status: int) -> ErrorType:
    """What the answer of an app or a provider with this status means."""
    if status < 400:
        return ""
    if status == 429:
        return "upstream_429"
    return "upstream_5xx" if status >= 500 else "upstream_4xx"
