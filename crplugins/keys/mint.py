"""Secrets of keys: 256 random bits with a prefix and a checksum, as GitHub's tokens have.

The prefix makes a leaked secret easy to find, the checksum tells a typo from a key without asking a store.
"""

import re
import secrets
import zlib
from collections.abc import Callable
from typing import Final

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
