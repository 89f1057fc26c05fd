"""The state of a key, and a key as it is shown: to the operator, never with a secret or a digest of one."""

from datetime import datetime
from typing import Any, Literal

from crplugins.keys.key import LONG_AGO, Key, SecretDigest
from crplugins.keys.policy import POLICY_KEYS, policy_to_dict

State = Literal["live", "disabled", "revoked", "expired", "not yet valid"]
"""What a client with the key's newest secret meets; in the order Auth looks at it. `revoked`: no secret lives."""


def state_of(key: Key, now: datetime) -> State:
    if key.disabled:
        return "disabled"
    if not any(is_live(secret, now) for secret in key.secrets):
        return "revoked"
    if key.expires is not None and key.expires <= now:
        return "expired"
    if key.not_before is not None and now < key.not_before:
        return "not yet valid"
    return "live"


def is_live(secret: SecretDigest, now: datetime) -> bool:
    return secret.not_after is None or now < secret.not_after


def key_to_public_dict(key: Key, now: datetime) -> dict[str, Any]:
    """Plain data: every key of the policy, None (or `{}`) where it is not set; times in ISO 8601 and UTC."""
    empty: dict[str, Any] = {name: {} if name in ("tags", "aliases", "limits") else None for name in POLICY_KEYS}
    return {
        **empty,
        **policy_to_dict(key.principal),
        "models_shadow": key.principal.models_shadow,
        "admin": key.principal.admin,
        "priority": key.principal.priority,
        "weight": key.principal.weight,
        "state": state_of(key, now),
        "created_at": format_moment(key.created_at),
        "not_before": format_moment(key.not_before),
        "expires": format_moment(key.expires),
        "disabled": key.disabled,
        "secrets": [_secret(secret, now) for secret in key.secrets],
    }


def format_moment(moment: datetime | None) -> str | None:
    """`2027-01-01T00:00:00Z`; None for no time and for the one that stands for an unknown one."""
    if moment is None or moment == LONG_AGO:
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _secret(secret: SecretDigest, now: datetime) -> dict[str, Any]:
    return {
        "hint": secret.hint,
        "created_at": format_moment(secret.created_at),
        "not_after": format_moment(secret.not_after),
        "live": is_live(secret, now),
    }
