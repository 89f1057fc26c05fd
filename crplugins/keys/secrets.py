"""Digester: turns secrets into what is stored of them, and into what is looked up."""

import hashlib
import re
import secrets
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Final, cast

from crplugins.core.final_newline import without_final_newline
from crplugins.keys.key import Scheme, SecretDigest

# Secrets of keys: 256 random bits with a prefix and a checksum, as GitHub's tokens have.
#
# The prefix makes a leaked secret easy to find, the checksum tells a typo from a key without asking a store.


PREFIX: Final = "sk-crp_"
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_FORM: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_BODY_LENGTH + _CHECKSUM_LENGTH}}}")


def mint_secret(random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """`sk-crp_`, 43 base62 characters, 6 of a CRC32 over both: 56 characters. `random(n)` gives n bytes."""
    start = PREFIX + _base62(int.from_bytes(random(32), "big"), _BODY_LENGTH)
    return start + _checksum(start)


def has_valid_checksum(secret: str) -> bool:
    """Whether `secret` has the form of a minted one and its checksum is right."""
    return _FORM.fullmatch(secret) is not None and secret.endswith(_checksum(secret[:-_CHECKSUM_LENGTH]))


def _checksum(start: str) -> str:
    return _base62(zlib.crc32(start.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


_HASH: Final = re.compile(r"(sha256|hmac-sha256):([0-9A-Fa-f]{64})")


class Digester:
    """SHA-256 of minted secrets, whose 256 random bits need no slow hash; HMAC-SHA256 where a pepper is set.

    The pepper protects weak imported keys in a leaked database. Digests of either scheme are found with it, so that
    setting one does not end the keys that are there.
    """

    def __init__(self, pepper: str | None = None) -> None:
        pepper = None if pepper is None else without_final_newline(pepper)
        if pepper == "":
            raise ValueError("the pepper must not be empty")
        self._hmac = _Hmac(pepper.encode()) if pepper is not None else None

    @property
    def scheme(self) -> Scheme:
        """That of new secrets."""
        return "sha256" if self._hmac is None else "hmac-sha256"

    def digest(self, secret: str) -> bytes:
        """That of new secrets."""
        return sha256(secret) if self._hmac is None else self._hmac.digest(secret.encode())

    def candidates(self, secret: str) -> tuple[bytes, ...]:
        """The digests `secret` may be stored under, the scheme of new secrets first."""
        own = self.digest(secret)
        return (own,) if self._hmac is None else (own, sha256(secret))

    def stored(self, secret: str, created_at: datetime, not_after: datetime | None = None) -> SecretDigest:
        return SecretDigest(self.digest(secret), hint(secret), created_at, not_after, self.scheme)


class _Hmac:
    """HMAC-SHA256 (RFC 2104) with both blocks of the key hashed beforehand: a third of the time of `hmac.digest`."""

    def __init__(self, key: bytes) -> None:
        block = (key if len(key) <= 64 else hashlib.sha256(key).digest()).ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


def sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def hint(secret: str) -> str:
    """What a list shows of a secret: `sk-crp_…a1B2`; of one shorter than 16 characters nothing but `…`."""
    if len(secret) < 16:
        return "…"
    prefix = next((known for known in (PREFIX, "sk-") if secret.startswith(known)), "")
    return f"{prefix}…{secret[-4:]}"


def parse_hash(text: str) -> tuple[Scheme, bytes] | None:
    """The scheme and digest of `sha256:<64 hex>` or `hmac-sha256:<64 hex>`; None for any other text."""
    match = _HASH.fullmatch(text)
    return (cast("Scheme", match[1]), bytes.fromhex(match[2])) if match else None


def format_hash(secret: SecretDigest) -> str:
    """As `parse_hash` reads it."""
    return f"{secret.scheme}:{secret.digest.hex()}"
