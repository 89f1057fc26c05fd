"""What is asked of the tables."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.keys.key import Key
from crplugins.keys.source import Found
from crplugins.keys.sql.rows import read_key
from crplugins.keys.sql.schema import api_key, api_key_secret, api_key_version


async def find_secret(connection: AsyncConnection, digests: Sequence[bytes]) -> Found | None:
    """The key one of whose secrets has one of `digests`; with all its secrets."""
    owner = select(api_key_secret.c.key_id).where(api_key_secret.c.hash.in_(digests))
    for key in await select_keys(connection, api_key.c.id.in_(owner)):
        for secret in key.secrets:
            if secret.digest in digests:
                return Found(key, secret)
    return None


async def select_keys(connection: AsyncConnection, condition: ColumnElement[bool] | None = None) -> list[Key]:
    """The keys for which `condition` on `api_key` holds, by id."""
    where = true() if condition is None else condition
    of_these = api_key_secret.c.key_id.in_(select(api_key.c.id).where(where))
    keys = await connection.execute(select(api_key).where(where).order_by(api_key.c.id))
    secrets: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in await connection.execute(select(api_key_secret).where(of_these)):
        secrets[row.key_id].append(row)
    return [read_key(row, secrets[row.id]) for row in keys]


async def current_version(connection: AsyncConnection) -> int:
    version: int = (await connection.execute(select(api_key_version.c.version))).scalar_one()
    return version


async def changed_since(connection: AsyncConnection, version: int) -> set[str]:
    """The ids of the keys changed after `version`."""
    rows = await connection.execute(select(api_key.c.id).where(api_key.c.version > version))
    return set(rows.scalars())
