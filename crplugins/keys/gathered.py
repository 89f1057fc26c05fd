"""GatheredKeys: the keys of all sources of a configuration as one store, of which those can be changed that are in a
file or a database."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from crplugins.keys.chain import Chain
from crplugins.keys.key import Key, SecretDigest
from crplugins.keys.secrets import Digester
from crplugins.keys.source import KeySource, listed_keys
from crplugins.keys.store import KeyStore, NoSuchKey

if TYPE_CHECKING:
    from crplugins.keys.audit import Action, AuditEntry, AuditQuestion, Author  # pydantic, which not all who ask need


class KeyFixed(Exception):
    """The key cannot be changed here. The message is a sentence that says why."""


class GatheredKeys:
    """A `KeyStore` behind a source that somebody else opens and closes: what it changes counts there at once.

    With one file or database among the sources that one is changed, with none or several nothing is: `KeyFixed`. Of a
    source that knows only those who come (tokens, LiteLLM's proxy) no keys are listed.
    """

    def __init__(self, source: KeySource) -> None:
        each = source.sources if isinstance(source, Chain) else (source,)
        self._stores: Final = list(_stores(each))
        self._others: Final = [one for one in each if getattr(one, "store", None) is None]
        self.digester: Final = self._stores[0].digester if self._stores else Digester()

    async def get(self, key_id: str) -> Key:
        known: list[str] = []
        for store in self._stores:
            try:
                return await store.get(key_id)
            except NoSuchKey as error:
                known += error.known
        for key in self._fixed():
            if key.id == key_id:
                return key
            known.append(key.id)
        raise NoSuchKey(key_id, known)

    async def list(self) -> Sequence[Key]:
        """Of two with one id that which is asked first."""
        found = [key for store in self._stores for key in await store.list()]
        by_id = {key.id: key for key in [*self._fixed(), *reversed(found)]}
        return sorted(by_id.values(), key=lambda key: key.id)

    async def add(self, key: Key, *, action: "Action" = "new", author: "Author | None" = None) -> None:
        await self._changeable(key.id).add(key, action=action, author=author)

    async def rotate(
        self, key_id: str, secret: SecretDigest, overlap: timedelta, now: datetime, *, author: "Author | None" = None
    ) -> Key:
        return await self._changeable(key_id).rotate(key_id, secret, overlap, now, author=author)

    async def revoke(self, key_id: str, now: datetime, *, author: "Author | None" = None) -> Key:
        return await self._changeable(key_id).revoke(key_id, now, author=author)

    async def set_disabled(self, key_id: str, *, disabled: bool, author: "Author | None" = None) -> Key:
        return await self._changeable(key_id).set_disabled(key_id, disabled=disabled, author=author)

    async def update(self, key_id: str, change: Callable[[Key], Key], *, author: "Author | None" = None) -> Key:
        return await self._changeable(key_id).update(key_id, change, author=author)

    async def delete(self, key_id: str, *, author: "Author | None" = None) -> None:
        await self._changeable(key_id).delete(key_id, author=author)

    async def audit(self, question: "AuditQuestion") -> "Sequence[AuditEntry]":
        entries = [entry for store in self._stores for entry in await store.audit(question)]
        return sorted(entries, key=lambda entry: entry.id, reverse=True)[: question.limit]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Whoever has opened the source closes it."""

    def _changeable(self, key_id: str) -> KeyStore:
        """Raises `KeyFixed`: of two keys with one name, a command that ends one would leave the other."""
        if any(key.id == key_id for key in self._fixed()):
            raise KeyFixed(f"the key '{key_id}' stands in the configuration itself, which is changed by hand alone")
        if len(self._stores) > 1:
            raise KeyFixed("there are several files or databases of keys; 'crplugins keys' changes one with --source")
        if not self._stores:
            raise KeyFixed("no keys can be changed: none are in a file or a database, such as keys: {file: keys.yaml}")
        return self._stores[0]

    def _fixed(self) -> Iterator[Key]:
        return (key for source in self._others for key in listed_keys(source))


def _stores(sources: Sequence[KeySource]) -> Iterator[KeyStore]:
    for each in sources:
        store: KeyStore | None = getattr(each, "store", None)  # FileKeys and SqlKeys, which are not imported for this
        if store is not None:
            yield store
