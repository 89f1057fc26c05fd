"""Key: an identity, its policy, and the digests of the secrets that stand for it. Immutable."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from crplugins.core.principal import Principal

Scheme = Literal["sha256", "hmac-sha256"]
"""How a secret was turned into its digest: SHA-256, or HMAC-SHA256 with the pepper of the source."""


@dataclass(frozen=True, slots=True)
class SecretDigest:
    """One secret of a key, as it is stored.

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


@dataclass(frozen=True, slots=True)
class Key:
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
