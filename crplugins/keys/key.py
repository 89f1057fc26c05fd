"""Key: an identity, its policy, and the digests of the secrets that stand for it. Immutable."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from crplugins.core.principal import Principal
from crplugins.settings.errors import KeyPath, Problem

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When a key was made whose source does not say."""

Scheme = Literal["sha256", "hmac-sha256"]
"""How a secret was turned into its digest: SHA-256, or HMAC-SHA256 with the pepper of the source."""


class SecretDigest(msgspec.Struct, frozen=True, gc=False):
    """One secret of a key, as it is stored.

    A Struct without the collector's part, like `Key`: there may be hundreds of thousands, and it would look at each.

    Attributes:
        digest: 32 bytes, of `scheme`.
        hint: what a list may show of the secret, such as `sk-crp_…a1B2`.
        not_after: the end of this secret's life (UTC); None for none of its own.
    """

    digest: bytes
    hint: str
    created_at: datetime
    not_after: datetime | None = None
    scheme: Scheme = "sha256"


class Key(msgspec.Struct, frozen=True, gc=False):
    """Several live secrets may stand for one key, so that it can be rotated without an outage."""

    principal: Principal
    secrets: tuple[SecretDigest, ...]
    created_at: datetime
    not_before: datetime | None = None
    expires: datetime | None = None
    disabled: bool = False

    @property
    def id(self) -> str:
        return self.principal.key_id


def utc_now() -> datetime:
    return datetime.now(UTC)


def rotated(key: Key, secret: SecretDigest, overlap: timedelta, now: datetime) -> Key:
    """With `secret` as well; the older ones end `overlap` from now, unless sooner."""
    return replace(key, secrets=(*_ending(key.secrets, now + overlap), secret))


def revoked(key: Key, now: datetime) -> Key:
    """With every secret ended."""
    return replace(key, secrets=tuple(_ending(key.secrets, now)))


def with_disabled(key: Key, *, disabled: bool) -> Key:
    return replace(key, disabled=disabled)


def repeated(keys: Iterable[Key], path: KeyPath = ("keys",)) -> Iterator[Problem]:
    """Keys of a list at `path` of which one would hide the other."""
    ids: dict[str, int] = {}
    digests: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        if key.id and (first := ids.setdefault(key.id, index)) != index:
            yield Problem((*path, index, "id"), f"the same id as {path[-1]}[{first}]")
        for digest in {secret.digest for secret in key.secrets}:
            if (first := digests.setdefault(digest, index)) != index:
                yield Problem((*path, index, "secret"), f"the same secret as {path[-1]}[{first}]")


def _ending(secrets: Iterable[SecretDigest], end: datetime) -> list[SecretDigest]:
    return [replace(s, not_after=min(s.not_after or end, end)) for s in secrets]
