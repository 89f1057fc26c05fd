"""KeyStore: where keys are made, changed and ended. The command line and the admin API work on it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from crplugins.keys.key import Key, SecretDigest


class KeyExists(Exception):
    """A key with this id, or with this secret, is there already. The message names the id."""


class NoSuchKey(Exception):
    """No key has this id. The message names it and the nearest known one."""


class KeyStore(Protocol):
    """Keys by id. Every change is atomic and visible to other processes within 2 s."""

    async def add(self, key: Key) -> None:
        """Raises `KeyExists`."""

    async def get(self, key_id: str) -> Key:
        """Raises `NoSuchKey`."""

    async def list(self) -> Sequence[Key]:
        """All keys, by id."""

    async def rotate(self, key_id: str, secret: SecretDigest, overlap: timedelta, now: datetime) -> Key:
        """Add `secret`; the older ones end `overlap` from now, unless sooner. Raises `NoSuchKey`, `KeyExists`."""

    async def revoke(self, key_id: str, now: datetime) -> Key:
        """End every secret now. The id stays, so that records keep their name. Raises `NoSuchKey`."""

    async def set_disabled(self, key_id: str, *, disabled: bool) -> Key:
        """Raises `NoSuchKey`."""
