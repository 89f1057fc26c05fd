"""KeyChanges: the changes of one key that a `KeyStore` makes alike, wherever it keeps its keys."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta

from crplugins.keys.audit import Action, Author
from crplugins.keys.key import Key, SecretDigest, revoked, rotated, with_disabled

Change = Callable[[Key], Key]


class KeyChanges(ABC):
    """Those methods of a `KeyStore` that read a key, change it, and write it back with a line of the audit log."""

    async def rotate(
        self, key_id: str, secret: SecretDigest, overlap: timedelta, now: datetime, *, author: Author | None = None
    ) -> Key:
        return await self._change(key_id, lambda key: rotated(key, secret, overlap, now), "rotate", author)

    async def revoke(self, key_id: str, now: datetime, *, author: Author | None = None) -> Key:
        return await self._change(key_id, lambda key: revoked(key, now), "revoke", author)

    async def set_disabled(self, key_id: str, *, disabled: bool, author: Author | None = None) -> Key:
        action: Action = "disable" if disabled else "enable"
        return await self._change(key_id, lambda key: with_disabled(key, disabled=disabled), action, author)

    async def update(self, key_id: str, change: Change, *, author: Author | None = None) -> Key:
        return await self._change(key_id, change, "update", author)

    @abstractmethod
    async def _change(self, key_id: str, change: Change, action: Action, author: Author | None) -> Key:
        """Atomic; an `author` of None is this process. Returns the key as it is now. Raises as `KeyStore` says."""
