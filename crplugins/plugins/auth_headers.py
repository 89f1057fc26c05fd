"""Where clients put their key."""

from collections.abc import Sequence
from typing import Final

from crplugins.core.errors import Header

_BARE: Final = (b"x-api-key", b"api-key")


def presented_secret(headers: Sequence[Header]) -> str | None:
    """The key of `authorization: Bearer`, else of `x-api-key`, else of `api-key`; it may hold spaces.

    None for another scheme or an empty key. A header that stands twice counts where it stands first.
    """
    bare: dict[bytes, bytes] | None = None
    for name, value in headers:
        if name == b"authorization":
            secret = _bearer(value)
            if secret is not None:
                return secret
        elif name in _BARE:
            bare = bare or {}
            bare.setdefault(name, value)
    return _bare(bare) if bare else None


def _bearer(value: bytes) -> str | None:
    scheme, _, secret = value.decode("latin-1").strip().partition(" ")
    return secret.strip() or None if scheme == "Bearer" or scheme.lower() == "bearer" else None


def _bare(values: dict[bytes, bytes]) -> str | None:
    texts = (values.get(name, b"").decode("latin-1").strip() for name in _BARE)
    return next(filter(None, texts), None)
