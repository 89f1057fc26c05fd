"""KeyTable: keys in memory, found by the digest of a secret. An immutable snapshot."""

from collections.abc import Iterable, Mapping
from typing import Final

from crplugins.keys.digest import Digester
from crplugins.keys.key import Key
from crplugins.keys.source import Found


class KeyTable:
    """One look-up by digest per secret, so the time taken tells nothing about how much of a wrong one was right."""

    def __init__(self, keys: Iterable[Key], digester: Digester) -> None:
        self.keys: Final = tuple(keys)
        self._digester = digester
        self._found: Mapping[bytes, Found] = {s.digest: Found(key, s) for key in self.keys for s in key.secrets}

    def find(self, secret: str) -> Found | None:
        for digest in self._digester.candidates(secret):
            found = self._found.get(digest)
            if found is not None:
                return found
        return None

    def __len__(self) -> int:
        return len(self.keys)
