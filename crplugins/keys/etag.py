"""Entity tags of keys (RFC 9110, 8.8.3): which version of a key somebody has seen, against lost updates."""

import hashlib
from datetime import datetime
from typing import Self

import msgspec

from crplugins.keys.entry import key_to_dict
from crplugins.keys.key import Key
from crplugins.keys.state import key_to_public_dict


class KeyChanged(Exception):
    """The key is not as it was read: somebody has changed it since. `etag` is that of the key as it is now."""

    def __init__(self, key_id: str, etag: str) -> None:
        super().__init__(f"the key '{key_id}' has changed since it was read")
        self.etag = etag


def etag_of(key: Key, now: datetime) -> str:
    """Another one for all that differs in what is stored or shown of a key, which changes when a secret ends, too.

    The same in every process. It tells nothing: a digest of digests.
    """
    words = msgspec.json.encode([key_to_dict(key), key_to_public_dict(key, now)], order="sorted")
    return f'"{hashlib.blake2b(words, digest_size=16).hexdigest()}"'


class IfMatch:
    """The field `If-Match`: `*`, or a list of tags, one of which must be that of the key."""

    def __init__(self, tags: frozenset[str]) -> None:
        self._tags = tags

    @classmethod
    def parse(cls, values: list[str]) -> Self | None:
        """None without such a field. No tag of ours has a comma in it, and a weak one (`W/"..."`) matches nothing."""
        if not values:
            return None
        return cls(frozenset(tag.strip() for value in values for tag in value.split(",")))

    def check(self, key: Key, now: datetime) -> None:
        """Raises `KeyChanged`."""
        etag = etag_of(key, now)
        if etag not in self._tags and "*" not in self._tags:
            raise KeyChanged(key.id, etag)
