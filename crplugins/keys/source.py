"""KeySource: where Auth looks a secret up."""

from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

import msgspec

from crplugins.keys.key import Key, SecretDigest

RefusalReason = Literal["expired", "not_yet_valid", "wrong_issuer", "wrong_audience", "unknown_signer", "invalid_token"]


class SourceUnavailable(Exception):
    """The source cannot be asked now, and does not know this secret from before: the client gets 503, never 401."""


class SecretRefused(Exception):
    """The source knows this kind of secret, and why it is no good: a signed token says what is wrong with it.

    Args:
        message: a sentence for the client. No part of the secret.
    """

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason: RefusalReason = reason


class Found(msgspec.Struct, frozen=True, gc=False):
    """A key, and which of its secrets was shown. Both immutable snapshots."""

    key: Key
    secret: SecretDigest


class KeySource(Protocol):
    """Finds the key a secret stands for. An async context manager, entered at start-up."""

    async def find(self, secret: str) -> Found | None:
        """The key, whatever its state (disabled, expired): judging that is Auth's. None for an unknown secret.

        Raises `SecretRefused`, `SourceUnavailable`; never blocks the event loop.
        """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


@runtime_checkable
class ListsKeys(Protocol):
    """A source that knows all of its keys by itself, without asking a database or an issuer of tokens."""

    @property
    def keys(self) -> tuple[Key, ...]: ...


def listed_keys(source: KeySource) -> tuple[Key, ...]:
    """The keys of a source that knows them; none of one that does not, or that is not open yet."""
    return source.keys if isinstance(source, ListsKeys) else ()
