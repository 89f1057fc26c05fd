"""Changes of a key, as functions from one snapshot to the next. Every store applies these."""

import dataclasses
from collections.abc import Iterable
from datetime import datetime, timedelta

from crplugins.keys.key import Key, SecretDigest


def rotated(key: Key, secret: SecretDigest, overlap: timedelta, now: datetime) -> Key:
    """With `secret` as well; the older ones end `overlap` from now, unless sooner."""
    return dataclasses.replace(key, secrets=(*_ending(key.secrets, now + overlap), secret))


def revoked(key: Key, now: datetime) -> Key:
    """With every secret ended."""
    return dataclasses.replace(key, secrets=tuple(_ending(key.secrets, now)))


def with_disabled(key: Key, *, disabled: bool) -> Key:
    return dataclasses.replace(key, disabled=disabled)


def _ending(secrets: Iterable[SecretDigest], end: datetime) -> list[SecretDigest]:
    return [dataclasses.replace(s, not_after=min(s.not_after or end, end)) for s in secrets]
