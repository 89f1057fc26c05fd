"""SqlStore: changes keys in a database."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from crplugins.keys.audit import Action, AuditEntry, AuditQuestion, Author, this_process
from crplugins.keys.changes import Change, KeyChanges
from crplugins.keys.key import Key, SecretDigest
from crplugins.keys.secrets import Digester
from crplugins.keys.sql.database import Database
from crplugins.keys.sql.rows import (
    api_key,
    api_key_audit,
    api_key_secret,
    api_key_version,
    current_version,
    find_secret,
    key_values,
    secret_values,
    select_audit,
    select_keys,
)
from crplugins.keys.store import KeyExists, NoSuchKey


class SqlStore(KeyChanges):
    """A `KeyStore` on SQLite or PostgreSQL. Open it with `async with`; the tables are made then, unless told not to.

    Every change counts the version up first, which lets one change at a time through.

    Args:
        database: its URL, or one that is shared.
        changed: called with the key's id when a change is committed.
    """

    def __init__(
        self,
        database: str | Database,
        *,
        digester: Digester | None = None,
        migrate: bool = True,
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.digester: Final = digester or Digester()
        self._database = database if isinstance(database, Database) else Database(database, migrate=migrate)
        self._changed = changed

    async def add(self, key: Key, *, action: Action = "new", author: Author | None = None) -> None:
        try:
            async with self._database.writing() as connection:
                version = await _next_version(connection)
                await _refuse_known(connection, key)
                row = key_values(key, version) | {"disabled_at": func.now() if key.disabled else None}
                await connection.execute(insert(api_key).values(row))
                await _insert_secrets(connection, key.id, key.secrets)
                await _note(connection, (author or this_process()).entry(action, None, key))
        except IntegrityError:  # the same secret twice in one key
            raise KeyExists(f"the key '{key.id}' has this secret already") from None
        self._changed(key.id)

    async def get(self, key_id: str) -> Key:
        async with self._database.reading() as connection:
            return await _get(connection, key_id)

    async def list(self) -> Sequence[Key]:
        async with self._database.reading() as connection:
            return await select_keys(connection)

    async def delete(self, key_id: str, *, author: Author | None = None) -> None:
        """No row is left that others could find changed: they see that the version went up without one."""
        async with self._database.writing() as connection:
            await _next_version(connection)
            before, author = await _get(connection, key_id), author or this_process()
            author.check(before)
            await _note(connection, author.entry("delete", before, None))
            await connection.execute(delete(api_key_secret).where(api_key_secret.c.key_id == key_id))
            await connection.execute(delete(api_key).where(api_key.c.id == key_id))
        self._changed(key_id)

    async def audit(self, question: AuditQuestion) -> Sequence[AuditEntry]:
        async with self._database.reading() as connection:
            return await select_audit(connection, question)

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._database.__aexit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"SqlStore({self._database!r})"

    async def _change(self, key_id: str, change: Change, action: Action, author: Author | None) -> Key:
        author = author or this_process()
        async with self._database.writing() as connection:
            version = await _next_version(connection)
            before = await _get(connection, key_id)
            author.check(before)
            after = change(before)
            await _write(connection, before, after, version)
            await _note(connection, author.entry(action, before, after))
        self._changed(key_id)
        return after


async def _next_version(connection: AsyncConnection) -> int:
    await connection.execute(update(api_key_version).values(version=api_key_version.c.version + 1))
    return await current_version(connection)


async def _note(connection: AsyncConnection, entry: AuditEntry) -> None:
    await connection.execute(insert(api_key_audit).values(msgspec.structs.asdict(entry)))


async def _get(connection: AsyncConnection, key_id: str) -> Key:
    keys = await select_keys(connection, api_key.c.id == key_id)
    if not keys:
        raise NoSuchKey(key_id, (await connection.execute(select(api_key.c.id))).scalars())
    return keys[0]


async def _refuse_known(connection: AsyncConnection, key: Key) -> None:
    if (await connection.execute(select(func.count()).where(api_key.c.id == key.id))).scalar_one():
        raise KeyExists(f"there is a key '{key.id}' already")
    await _refuse_known_secrets(connection, key.secrets)


async def _refuse_known_secrets(connection: AsyncConnection, secrets: Sequence[SecretDigest]) -> None:
    found = await find_secret(connection, [secret.digest for secret in secrets])
    if found is not None:
        raise KeyExists(f"the key '{found.key.id}' has this secret already")


async def _insert_secrets(connection: AsyncConnection, key_id: str, secrets: Sequence[SecretDigest]) -> None:
    if secrets:
        await connection.execute(insert(api_key_secret), [secret_values(secret, key_id) for secret in secrets])


async def _write(connection: AsyncConnection, before: Key, after: Key, version: int) -> None:
    """Bring the rows of a key from `before` to `after`."""
    known = {secret.digest for secret in before.secrets}
    added = after.secrets[len(before.secrets) :]  # a change ends secrets, and adds some after them
    await _refuse_known_secrets(connection, added)
    changed: dict[str, Any] = key_values(after, version)
    if after.disabled != before.disabled:
        changed["disabled_at"] = func.now() if after.disabled else None
    await connection.execute(update(api_key).where(api_key.c.id == after.id).values(changed))
    for secret in after.secrets:
        if secret.digest in known:
            row = api_key_secret.c.hash == secret.digest
            await connection.execute(update(api_key_secret).where(row).values(not_after=secret.not_after))
    await _insert_secrets(connection, after.id, added)
