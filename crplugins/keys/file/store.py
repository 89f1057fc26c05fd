"""FileStore: changes a keys file. Comments in it are lost; keys it does not know stay."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from crplugins.keys.entry import SECRET_KEYS, spell_key, spell_secret
from crplugins.keys.file.document import KeysDocument
from crplugins.keys.file.file import KeyFile, locked
from crplugins.keys.key import Key, SecretDigest, revoked, rotated, with_disabled
from crplugins.keys.secrets import Digester
from crplugins.keys.store import KeyExists, NoSuchKey

Change = Callable[[Key], Key]


class FileStore:
    """A `KeyStore` on a YAML or JSON file, made when the first key is added.

    Every change reads the file, checks it whole and replaces it, under a lock that all processes honour. Raises
    `KeyFileError` from every method if the file cannot be used.

    Args:
        changed: called in the working thread after each change.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        digester: Digester | None = None,
        environ: Mapping[str, str] = os.environ,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.digester: Final = digester or Digester()
        self._file = KeyFile(path, self.digester, environ)
        self._changed = changed

    async def add(self, key: Key) -> None:
        await asyncio.to_thread(self._add, key)

    async def get(self, key_id: str) -> Key:
        return _position(await self.list(), key_id)[1]

    async def list(self) -> Sequence[Key]:
        keys = (await asyncio.to_thread(self._read))[1]
        return sorted(keys, key=lambda key: key.id)

    async def rotate(self, key_id: str, secret: SecretDigest, overlap: timedelta, now: datetime) -> Key:
        return await self._change(key_id, lambda key: rotated(key, secret, overlap, now))

    async def revoke(self, key_id: str, now: datetime) -> Key:
        return await self._change(key_id, lambda key: revoked(key, now))

    async def set_disabled(self, key_id: str, *, disabled: bool) -> Key:
        return await self._change(key_id, lambda key: with_disabled(key, disabled=disabled))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    def __repr__(self) -> str:
        return f"FileStore({str(self._file.path)!r})"

    async def _change(self, key_id: str, change: Change) -> Key:
        return await asyncio.to_thread(self._apply, key_id, change)

    def _read(self) -> tuple[KeysDocument, tuple[Key, ...]]:
        if not self._file.path.exists():
            return KeysDocument(self._file.path.name), ()
        contents = self._file.read()
        return contents.document, contents.keys

    def _add(self, key: Key) -> None:
        with locked(self._real_path()):
            document, keys = self._read()
            if any(known.id == key.id for known in keys):
                raise KeyExists(f"there is a key '{key.id}' already")
            _refuse_shared_secrets(key, keys)
            document.entries.append(spell_key(key))
            self._write(document)

    def _apply(self, key_id: str, change: Change) -> Key:
        with locked(self._real_path()):
            document, keys = self._read()
            position, key = _position(keys, key_id)
            changed = change(key)
            _refuse_shared_secrets(changed, [other for other in keys if other is not key], known=key)
            _write_into(document.entries[position], key, changed)
            self._write(document)
        return changed

    def _write(self, document: KeysDocument) -> None:
        self._file.check(document)  # never replace a good file by one that cannot be read back
        self._file.replace(document)
        self._changed()

    def _real_path(self) -> Path:
        return Path(os.path.realpath(self._file.path))


def _position(keys: Sequence[Key], key_id: str) -> tuple[int, Key]:
    for position, key in enumerate(keys):
        if key.id == key_id:
            return position, key
    raise NoSuchKey(key_id, [key.id for key in keys])


def _refuse_shared_secrets(key: Key, others: Sequence[Key], known: Key | None = None) -> None:
    digests = [secret.digest for secret in key.secrets]
    owners = {secret.digest: other.id for other in others for secret in other.secrets}
    taken = next((owners[digest] for digest in digests if digest in owners), None)
    if taken is None and len(set(digests)) < len(digests):
        taken = (known or key).id
    if taken is not None:
        raise KeyExists(f"the key '{taken}' has this secret already")


def _write_into(entry: dict[str, Any], before: Key, after: Key) -> None:
    """Bring an entry from `before` to `after`, its own spelling of everything else kept (`secret: ${NAME}`)."""
    if after.disabled != before.disabled:
        entry["disabled"] = after.disabled
    if after.secrets != before.secrets:
        spelled = _spelled_secrets(entry)
        for words, secret in zip(spelled, after.secrets, strict=False):
            words |= {name: value for name, value in spell_secret(secret).items() if name == "not_after"}
        entry["secrets"] = [*spelled, *(spell_secret(secret) for secret in after.secrets[len(spelled) :])]


def _spelled_secrets(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The secrets of an entry as they stand, taken out of it if they stand at its top."""
    if "secrets" in entry:
        return [dict(secret) for secret in entry["secrets"]]
    own: dict[str, Any] = {name: entry[name] for name in SECRET_KEYS if name in entry}
    for name in own.keys() - {"created_at"}:
        del entry[name]
    return [own]
