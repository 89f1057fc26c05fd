"""FileStore: changes a keys file, and in it only what the change is about: everything else stays as it was written."""

import asyncio
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from crplugins.keys.audit import Action, AuditEntry, AuditQuestion, Author, this_process
from crplugins.keys.changes import Change, KeyChanges
from crplugins.keys.entry import SECRET_KEYS, NewKey, key_to_dict, secret_to_dict
from crplugins.keys.file.audit import AuditFile
from crplugins.keys.file.editing import with_change, with_entry, without_entry
from crplugins.keys.file.file import Contents, KeyFile, locked
from crplugins.keys.key import Key
from crplugins.keys.secrets import Digester
from crplugins.keys.store import KeyExists, NoSuchKey


class FileStore(KeyChanges):
    """A `KeyStore` on a YAML or JSON file, made when the first key is added.

    Every change reads the file, checks it whole and replaces it, under a lock that all processes honour. Raises
    `KeyFileError` from every method if the file cannot be used.

    Args:
        audit: the file of the audit log; None for one beside the keys, `keys.audit.jsonl`.
        changed: called in the working thread after each change.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        digester: Digester | None = None,
        environ: Mapping[str, str] = os.environ,
        audit: str | os.PathLike[str] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.digester: Final = digester or Digester()
        self._file = KeyFile(path, self.digester, environ)
        self._audit = None if audit is None else Path(audit)
        self._changed = changed

    async def add(self, key: Key, *, action: Action = "new", author: Author | None = None) -> None:
        await asyncio.to_thread(self._add, key, action, author or this_process())

    async def get(self, key_id: str) -> Key:
        return _position(await self.list(), key_id)[1]

    async def list(self) -> Sequence[Key]:
        contents = await asyncio.to_thread(self._read)
        return sorted(contents.keys, key=lambda key: key.id)

    async def delete(self, key_id: str, *, author: Author | None = None) -> None:
        await asyncio.to_thread(self._delete, key_id, author or this_process())

    async def audit(self, question: AuditQuestion) -> Sequence[AuditEntry]:
        return await asyncio.to_thread(lambda: self._log().answer(question))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    def __repr__(self) -> str:
        return f"FileStore({str(self._file.path)!r})"

    async def _change(self, key_id: str, change: Change, action: Action, author: Author | None) -> Key:
        return await asyncio.to_thread(self._apply, key_id, change, action, author or this_process())

    def _read(self) -> Contents:
        if not self._file.path.exists():
            return self._file.parse('{"keys": []}' if self._file.is_json else "keys: []\n")
        return self._file.read()

    def _add(self, key: Key, action: Action, author: Author) -> None:
        with locked(self._real_path()):
            contents = self._read()
            if any(known.id == key.id for known in contents.keys):
                raise KeyExists(f"there is a key '{key.id}' already")
            _refuse_shared_secrets(key, contents.keys)
            text = with_entry(self._file, contents, key_to_dict(key), key)
            self._write(text, author.entry(action, None, key))

    def _apply(self, key_id: str, change: Change, action: Action, author: Author) -> Key:
        with locked(self._real_path()):
            contents = self._read()
            position, key = _position(contents.keys, key_id)
            author.check(key)
            changed = change(key)
            _refuse_shared_secrets(changed, [other for other in contents.keys if other is not key], known=key)
            text = with_change(self._file, contents, position, lambda entry: _write_into(entry, key, changed), changed)
            self._write(text, author.entry(action, key, changed))
        return changed

    def _delete(self, key_id: str, author: Author) -> None:
        with locked(self._real_path()):
            contents = self._read()
            position, key = _position(contents.keys, key_id)
            author.check(key)
            self._write(without_entry(self._file, contents, position), author.entry("delete", key, None))

    def _write(self, text: str, entry: AuditEntry) -> None:
        """The entry first: a change of which nothing is written would be worse than an entry without its change, which
        a loss of power between the two may leave."""
        with self._log().written(entry):
            self._file.replace(text)
        self._changed()

    def _log(self) -> AuditFile:
        path = self._real_path()
        return AuditFile(path.with_name(f"{path.stem}.audit.jsonl") if self._audit is None else self._audit, path)

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


def _write_into(entry: MutableMapping[str, Any], before: Key, after: Key) -> None:
    """Bring an entry from `before` to `after`, its own spelling of everything else kept (`secret: ${NAME}`)."""
    if after.disabled != before.disabled:
        entry["disabled"] = after.disabled
    _write_words(entry, _words_of(before), _words_of(after))
    if after.secrets != before.secrets:
        if entry.get("secrets") is None:
            entry["secrets"] = [_taken_out(entry)]
        listed = entry["secrets"]
        for words, old, new in zip(listed, before.secrets, after.secrets, strict=False):
            if new.not_after != old.not_after:
                words["not_after"] = secret_to_dict(new)["not_after"]
        listed.extend(secret_to_dict(secret) for secret in after.secrets[len(listed) :])


def _words_of(key: Key) -> dict[str, Any]:
    """All that a key may do, and when."""
    known = NewKey.known_keys() - {"disabled"}
    return {name: word for name, word in key_to_dict(key).items() if name in known}


def _write_words(entry: MutableMapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Bring the words of an entry, or of a mapping in it, from `before` to `after`: only those that differ."""
    for name in before.keys() - after.keys():
        del entry[name]
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            _write_words(entry[name], old, value)
        elif value != old:
            entry[name] = value


def _taken_out(entry: MutableMapping[str, Any]) -> dict[str, Any]:
    """The secret at the top of an entry, which has moved into its list of secrets."""
    own = {name: entry[name] for name in SECRET_KEYS if name in entry}
    for name in own.keys() - {"created_at"}:
        del entry[name]
    return own
