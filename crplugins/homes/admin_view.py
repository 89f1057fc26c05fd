"""What people and scripts are shown of a key: its policy, its state, hints of its secrets. No secret, no digest."""

from datetime import datetime
from typing import Any, Literal

from crplugins.keys.entry import LONG_AGO
from crplugins.keys.key import Key, SecretDigest
from crplugins.keys.policy import POLICY_KEYS, spell_policy

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


def describe(key: Key, now: datetime) -> dict[str, Any]:
    """Plain data: every key of the policy, None (or `{}`) where it is not set; times in ISO 8601 and UTC."""
    empty: dict[str, Any] = {name: {} if name in ("tags", "aliases", "limits") else None for name in POLICY_KEYS}
    return {
        **empty,
        **spell_policy(key.principal),
        "state": state_of(key, now),
        "created_at": spell_moment(key.created_at),
        "not_before": spell_moment(key.not_before),
        "expires": spell_moment(key.expires),
        "disabled": key.disabled,
        "secrets": [_secret(secret, now) for secret in key.secrets],
    }


def spell_moment(moment: datetime | None) -> str | None:
    """`2027-01-01T00:00:00Z`; None for no time and for the one that stands for an unknown one."""
    if moment is None or moment == LONG_AGO:
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _secret(secret: SecretDigest, now: datetime) -> dict[str, Any]:
    return {
        "hint": secret.hint,
        "created_at": spell_moment(secret.created_at),
        "not_after": spell_moment(secret.not_after),
        "live": is_live(secret, now),
    }
