"""KeyStore: where keys are made, changed and ended. The command line and the admin API work on it."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from crplugins.keys.key import Key, SecretDigest
from crplugins.keys.secrets import Digester
from crplugins.settings.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from crplugins.keys.audit import Action, AuditEntry, AuditQuestion, Author  # pydantic, which not all who ask need


class KeyExists(Exception):
    """A key with this id, or with this secret, is there already. The message names the id."""


class NoSuchKey(Exception):
    """No key has this id. The message names it and the nearest known one."""

    def __init__(self, key_id: str, known: Iterable[str]) -> None:
        self.known = list(known)
        super().__init__(f"there is no key '{key_id}'{did_you_mean(key_id, self.known)}")


class ChangeRefused(ConfigError):
    """What a change would make of a key is no key. The problems name the words; the key stays as it was."""


class KeyFileError(ConfigError):
    """A keys file that cannot be used. Its text names the file, and line and key of each problem; no values."""


class KeyStore(Protocol):
    """Keys by id. Every change is atomic and visible to other processes within 2 s.

    Each is written to the audit log, or is not made; without an `author` as that of this process. An author who has
    seen another version of the key is told so by `KeyChanged`.

    An async context manager. What it works on being unavailable is `SourceUnavailable`, from every method.
    """

    @property
    def digester(self) -> Digester:
        """Makes the `SecretDigest` of a new secret as this store keeps them."""

    async def add(self, key: Key, *, action: "Action" = "new", author: "Author | None" = None) -> None:
        """Raises `KeyExists`."""

    async def get(self, key_id: str) -> Key:
        """Raises `NoSuchKey`."""

    async def list(self) -> Sequence[Key]:
        """All keys, by id."""

    async def rotate(
        self, key_id: str, secret: SecretDigest, overlap: timedelta, now: datetime, *, author: "Author | None" = None
    ) -> Key:
        """Add `secret`; the older ones end `overlap` from now, unless sooner. Raises `NoSuchKey`, `KeyExists`."""

    async def revoke(self, key_id: str, now: datetime, *, author: "Author | None" = None) -> Key:
        """End every secret now. The id stays, so that records keep their name. Raises `NoSuchKey`."""

    async def set_disabled(self, key_id: str, *, disabled: bool, author: "Author | None" = None) -> Key:
        """Raises `NoSuchKey`."""

    async def update(self, key_id: str, change: Callable[[Key], Key], *, author: "Author | None" = None) -> Key:
        """Give a key what `change` makes of its policy and its dates; the id and the secrets stay.

        Raises `NoSuchKey`, and the `ChangeRefused` of `change`.
        """

    async def delete(self, key_id: str, *, author: "Author | None" = None) -> None:
        """Remove a key and its secrets. Its id is free again. Raises `NoSuchKey`."""

    async def audit(self, question: "AuditQuestion") -> "Sequence[AuditEntry]":
        """The changes that were made, the newest first."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
