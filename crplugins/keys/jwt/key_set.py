"""KeySet: the public keys an issuer signs with (RFC 7517)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import cryptography  # noqa: F401  # PyJWT can do without, and then has no algorithm of ours
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from crplugins.keys.jwt.settings import FAMILIES
from crplugins.keys.source import SourceUnavailable


class KeySet:
    """Keys for signatures, by `kid`; shared secrets and keys for encryption are left out.

    Raises `SourceUnavailable` for a document that is no key set.
    """

    def __init__(self, document: bytes) -> None:
        self._keys = [key for key in _listed(document) if _signs(key)]
        self._ready: dict[tuple[str | None, str], PyJWK | None] = {}

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key `kid` if it is one for `algorithm`. Without a `kid`, the only one for it."""
        if (kid, algorithm) not in self._ready:
            if kid is not None and all(key.get("kid") != kid for key in self._keys):
                return None  # not remembered: anyone can think of any number of these
            self._ready[kid, algorithm] = self._prepared(kid, algorithm)
        return self._ready[kid, algorithm]

    def _prepared(self, kid: str | None, algorithm: str) -> PyJWK | None:
        fitting = [key for key in self._keys if _fits(key, algorithm) and kid in (None, key.get("kid"))]
        if len(fitting) != 1:
            return None
        try:
            return PyJWK.from_dict(
                dict(fitting[0]), algorithm=algorithm
            )  # the key's, never what the token's header says
        except (PyJWTError, ValueError, TypeError):  # a key that is none
            return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and self._keys == other._keys

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._keys)


def _listed(document: bytes) -> Sequence[Mapping[str, Any]]:
    try:
        found = json.loads(document)
    except ValueError:
        found = None
    keys = found.get("keys") if isinstance(found, Mapping) else None
    if not isinstance(keys, list):
        raise SourceUnavailable("the issuer's keys are not a JWKS document")
    return [key for key in keys if isinstance(key, Mapping)]


def _signs(key: Mapping[str, Any]) -> bool:
    operations = key.get("key_ops")
    return (
        key.get("kty") in FAMILIES.values()
        and key.get("use", "sig") == "sig"
        and (not isinstance(operations, list) or "verify" in operations)
    )


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    return key.get("kty") == FAMILIES.get(algorithm) and key.get("alg", algorithm) == algorithm
