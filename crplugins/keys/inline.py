"""InlineKeys: keys that stand in the configuration, or in Python."""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, runtime_checkable

import msgspec

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.final_newline import without_final_newline
from crplugins.core.principal import Principal
from crplugins.keys.key import LONG_AGO, Key, repeated
from crplugins.keys.secrets import Digester
from crplugins.keys.source import Found
from crplugins.settings.errors import ConfigError, KeyPath


class KeyTable:
    """One look-up by digest per secret, so the time taken tells nothing about how much of a wrong one was right.

    Attributes:
        shown: whose key is in a header, by the SHA-256 of all of it, for `Auth`, which puts in none but those of known
            keys. It ends with the table, so with the next change of any key.
    """

    def __init__(self, keys: Iterable[Key], digester: Digester) -> None:
        self.shown: Final[BoundedMap[bytes, Found]] = BoundedMap()
        self.keys: Final = tuple(keys)
        self._digester = digester
        self._by_digest: Mapping[bytes, Key] = {s.digest: key for key in self.keys for s in key.secrets}

    def find(self, secret: str) -> Found | None:
        for digest in self._digester.candidates(secret):
            key = self._by_digest.get(digest)
            if key is not None:
                return Found(key, next(each for each in key.secrets if each.digest == digest))
        return None

    def __len__(self) -> int:
        return len(self.keys)


@runtime_checkable
class HasKeyTable(Protocol):
    """A source whose keys are all in memory."""

    @property
    def key_table(self) -> KeyTable | None:
        """Another one after each change; None before there is one."""


class InlineKey(msgspec.Struct, frozen=True):
    """A key with no policy: an id and a secret."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"InlineKey(id={self.id!r})"


class InlineKeys:
    """A `KeySource` of a fixed list: entries as `keys.entry` describes them, `InlineKey`s, or whole `Key`s.

    `path` is where the list stands in the configuration. Raises `ConfigError` with everything wrong in it.
    """

    def __init__(
        self,
        keys: Iterable[Mapping[str, Any] | InlineKey | Key],
        *,
        digester: Digester | None = None,
        path: KeyPath = ("keys",),
    ) -> None:
        digester = digester or Digester()
        given = [_made(key, digester) if isinstance(key, InlineKey) else key for key in keys]
        self.key_table: Final = KeyTable(_checked(given, digester, path), digester)

    @property
    def keys(self) -> tuple[Key, ...]:
        return self.key_table.keys

    async def find(self, secret: str) -> Found | None:
        return self.key_table.find(secret)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    def __repr__(self) -> str:
        return f"InlineKeys({len(self.key_table)} keys)"


def _made(key: InlineKey, digester: Digester) -> Key:
    return Key(Principal(key.id), (digester.stored(without_final_newline(key.secret), LONG_AGO),), LONG_AGO)


def _checked(given: Sequence[Mapping[str, Any] | Key], digester: Digester, path: KeyPath) -> tuple[Key, ...]:
    keys = tuple(key for key in given if isinstance(key, Key))
    if len(keys) < len(given):
        from crplugins.keys.entry import Reading, read_keys  # pydantic, which keys made in Python can do without

        return read_keys(given, Reading(digester), path)
    if problems := list(repeated(keys, path)):
        raise ConfigError(problems)
    return keys
