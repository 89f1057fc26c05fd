"""Between rows and Keys."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final, cast

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.core.principal import DEFAULT_PRIORITY, Budget, Period
from crplugins.keys.aliases import aliases_to_dict
from crplugins.keys.audit import AuditEntry, AuditQuestion
from crplugins.keys.key import Key, Scheme, SecretDigest
from crplugins.keys.policy import POLICY_KEYS, PolicySection, limits_to_dict
from crplugins.keys.source import Found
from crplugins.settings.reading import read_section
from crplugins.sql.utc_time import UtcTime

PolicySection.prepare()


def key_values(key: Key, version: int) -> dict[str, Any]:
    """The row of `api_key`."""
    who = key.principal
    return {
        "id": who.key_id,
        "team": who.team,
        "owner": who.owner,
        "tags": dict(who.tags) or None,
        "models": None if who.models is None else list(who.models),
        "models_shadow": who.models_shadow or None,
        "admin": who.admin or None,
        "weight": who.weight if who.weight != 1 else None,
        "aliases": aliases_to_dict(who.aliases) or None,
        "limits": limits_to_dict(who.limits) or None,
        "budget_micro_usd": who.budget and who.budget.micro_usd,
        "budget_period": who.budget and who.budget.period,
        "budget_shadow": (who.budget and who.budget.shadow) or None,
        "on_disconnect": who.on_disconnect,
        "missing_usage": who.missing_usage,
        "priority": who.priority if who.priority != DEFAULT_PRIORITY else None,
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


def read_key(rows: Sequence[Mapping[str, Any]]) -> Key:
    """The key of its rows, one for each of its secrets. Raises `ConfigError` if somebody wrote nonsense into one."""
    values = rows[0]
    words = {name: values[name] for name in POLICY_KEYS if name != "budget"}  # which has columns of its own
    policy = read_section(PolicySection, words, ("api_key", values["id"]))
    return Key(
        msgspec.structs.replace(policy.principal(), budget=_budget(values)),
        tuple(sorted([_secret(row) for row in rows if row["secret_hash"] is not None], key=_age)),
        values["created_at"],
        not_before=values["not_before"],
        expires=values["expires"],
        disabled=values["disabled_at"] is not None,
    )


def _budget(values: Mapping[str, Any]) -> Budget | None:
    if values["budget_micro_usd"] is None:
        return None
    return Budget(values["budget_micro_usd"], cast("Period", values["budget_period"]), bool(values["budget_shadow"]))


def _secret(row: Mapping[str, Any]) -> SecretDigest:
    digest, scheme = bytes(row["secret_hash"]), cast("Scheme", row["secret_scheme"])
    return SecretDigest(digest, row["secret_hint"], row["secret_created_at"], row["secret_not_after"], scheme)


def _age(secret: SecretDigest) -> tuple[datetime, bytes]:
    return secret.created_at, secret.digest


metadata: Final = MetaData()

api_key: Final = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("team", Text),
    Column("owner", Text),
    Column("tags", JSON(none_as_null=True)),
    Column("models", JSON(none_as_null=True)),
    Column("aliases", JSON(none_as_null=True)),
    Column("limits", JSON(none_as_null=True)),
    Column("budget_micro_usd", BigInteger),
    Column("budget_period", Text),
    Column("on_disconnect", Text),
    Column("missing_usage", Text),
    Column("models_shadow", Boolean),
    Column("budget_shadow", Boolean),
    Column("admin", Boolean),
    Column("priority", Text),
    Column("weight", Integer),
    Column("created_at", UtcTime, nullable=False),
    Column("not_before", UtcTime),
    Column("expires", UtcTime),
    Column("disabled_at", UtcTime),
    Column("version", BigInteger, nullable=False, index=True),  # that of its last change
)

api_key_secret: Final = Table(
    "api_key_secret",
    metadata,
    Column("hash", LargeBinary(32), primary_key=True),
    Column("scheme", Text, nullable=False),
    Column("key_id", Text, ForeignKey("api_key.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("hint", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("not_after", UtcTime),
)

api_key_audit: Final = Table(
    "api_key_audit",
    metadata,
    Column("id", Text, primary_key=True),  # sorts by time
    Column("at", UtcTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("key_id", Text, nullable=False, index=True),  # also of a key that is deleted
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Column("request_id", Text),
)

api_key_version: Final = Table(
    "api_key_version",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("version", BigInteger, nullable=False),
)
"""One row, counted up by every change in the transaction that makes it: whoever polls it sees each change once."""


async def find_secret(connection: AsyncConnection, digests: Sequence[bytes]) -> Found | None:
    """The key one of whose secrets has one of `digests`; with all its secrets."""
    return found_in(await select_keys(connection, _has_secret(digests)), digests)


def found_in(keys: Iterable[Key], digests: Sequence[bytes]) -> Found | None:
    """The first key one of whose secrets has one of `digests`."""
    for key in keys:
        for secret in key.secrets:
            if secret.digest in digests:
                return Found(key, secret)
    return None


def _has_secret(digests: Sequence[bytes] | Sequence[BindParameter[bytes]]) -> ColumnElement[bool]:
    return api_key.c.id.in_(select(api_key_secret.c.key_id).where(api_key_secret.c.hash.in_(digests)))


_KEYS_WITH_SECRETS: Final = (
    select(api_key, *(column.label(f"secret_{column.name}") for column in api_key_secret.c))
    .outerjoin(api_key_secret, api_key_secret.c.key_id == api_key.c.id)
    .order_by(api_key.c.id)
)
"""In one question: a request waits for the answer, and on SQLite most of it is the way to its thread and back."""

KEYS_OF_SECRETS: Final = _KEYS_WITH_SECRETS.where(
    _has_secret([bindparam(name, type_=LargeBinary(32)) for name in ("first", "second")])
)
"""Of one or two secrets. Its rows are those of `read_keys`."""


async def select_keys(connection: AsyncConnection, condition: ColumnElement[bool] | None = None) -> list[Key]:
    """The keys for which `condition` on `api_key` holds, by id."""
    rows = await connection.execute(_KEYS_WITH_SECRETS.where(true() if condition is None else condition))
    return read_keys(row._asdict() for row in rows)


def read_keys(rows: Iterable[Mapping[str, Any]]) -> list[Key]:
    """The keys of their rows, those of one after each other. Raises `ConfigError` as `read_key` does."""
    return [read_key([*of_one]) for _, of_one in groupby(rows, key=lambda row: row["id"])]


async def select_audit(connection: AsyncConnection, question: AuditQuestion) -> list[AuditEntry]:
    """The changes that are asked for, the newest first."""
    column, asked = api_key_audit.c, select(api_key_audit).order_by(api_key_audit.c.id.desc()).limit(question.limit)
    if question.key_id is not None:
        asked = asked.where(column.key_id == question.key_id)
    if question.actor is not None:
        asked = asked.where(column.actor == question.actor)
    if question.since is not None:
        asked = asked.where(column.at >= question.since)
    if question.until is not None:
        asked = asked.where(column.at < question.until)
    if question.after is not None:
        asked = asked.where(column.id < question.after)
    return [AuditEntry(**row) for row in (await connection.execute(asked)).mappings()]


async def current_version(connection: AsyncConnection) -> int:
    version: int = (await connection.execute(select(api_key_version.c.version))).scalar_one()
    return version


async def changed_since(connection: AsyncConnection, version: int) -> set[str]:
    """The ids of the keys changed after `version`."""
    rows = await connection.execute(select(api_key.c.id).where(api_key.c.version > version))
    return set(rows.scalars())
