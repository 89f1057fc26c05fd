"""Between rows and Keys."""

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Row

from crplugins.core.principal import Budget, Period
from crplugins.keys.aliases import spell_aliases
from crplugins.keys.key import Key, Scheme, SecretDigest
from crplugins.keys.policy import POLICY_KEYS, read_policy, spell_limits
from crplugins.keys.words import WordProblem, Words, WordsRefused


def key_values(key: Key, version: int) -> dict[str, Any]:
    """The row of `api_key`."""
    who = key.principal
    return {
        "id": who.key_id,
        "team": who.team,
        "owner": who.owner,
        "tags": dict(who.tags) or None,
        "models": None if who.models is None else list(who.models),
        "aliases": spell_aliases(who.aliases) or None,
        "limits": spell_limits(who.limits) or None,
        "budget_micro_usd": who.budget and who.budget.micro_usd,
        "budget_period": who.budget and who.budget.period,
        "on_disconnect": who.on_disconnect,
        "missing_usage": who.missing_usage,
        "created_at": key.created_at,
        "not_before": key.not_before,
        "expires": key.expires,
        "version": version,
    }


def secret_values(secret: SecretDigest, key_id: str) -> dict[str, Any]:
    """The row of `api_key_secret`."""
    return {
        "hash": secret.digest,
        "scheme": secret.scheme,
        "key_id": key_id,
        "hint": secret.hint,
        "created_at": secret.created_at,
        "not_after": secret.not_after,
    }


def read_key(row: Row[Any], secrets: Iterable[Row[Any]]) -> Key:
    """The key of its row and of those of its secrets. Raises `WordsRefused` if somebody wrote nonsense into one."""
    values = row._asdict()
    problems: list[WordProblem] = []
    policy = {name: values[name] for name in POLICY_KEYS if name != "budget"}
    principal = read_policy(Words(policy, POLICY_KEYS, ("api_key", values["id"]), problems))
    if problems:
        raise WordsRefused(problems)
    return Key(
        dataclasses.replace(principal, budget=_budget(values)),
        tuple(sorted(map(_secret, secrets), key=_age)),
        values["created_at"],
        not_before=values["not_before"],
        expires=values["expires"],
        disabled=values["disabled_at"] is not None,
    )


def _budget(values: Mapping[str, Any]) -> Budget | None:
    if values["budget_micro_usd"] is None:
        return None
    return Budget(values["budget_micro_usd"], cast("Period", values["budget_period"]))


def _secret(row: Row[Any]) -> SecretDigest:
    return SecretDigest(bytes(row.hash), row.hint, row.created_at, row.not_after, cast("Scheme", row.scheme))


def _age(secret: SecretDigest) -> tuple[datetime, bytes]:
    return secret.created_at, secret.digest
