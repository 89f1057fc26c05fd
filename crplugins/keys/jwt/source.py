"""JwtKeys: a key source whose secrets are signed tokens (RFC 7519)."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import jwt
from jwt.exceptions import (
    InvalidAlgorithmError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidKeyError,
    InvalidSignatureError,
    MissingRequiredClaimError,
    PyJWTError,
)

from crplugins.core.shared import Shared
from crplugins.core.waiting import stopped
from crplugins.keys.jwt.claims import key_of
from crplugins.keys.jwt.settings import JwtSettings
from crplugins.keys.jwt.signing_keys import Fetch, Issuer, fetcher
from crplugins.keys.key import LONG_AGO, SecretDigest
from crplugins.keys.secrets import hint, sha256
from crplugins.keys.source import Found, SecretRefused

if TYPE_CHECKING:
    from jwt.types import Options

logger = logging.getLogger("crplugins.keys")

CACHE_SIZE: Final = 10_000

_UNCHECKED: "Final[Options]" = {"verify_signature": False}
_CHECKS: "Final[Options]" = {
    "require": ["exp", "iss"],
    "verify_exp": False,  # Auth judges by its own clock, with every use of a cached token
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,  # some providers send a number, which `key_of` reads
    "verify_jti": False,
}


class JwtKeys(Shared):
    """Tokens of one issuer. A verified one is remembered until the issuer's keys change.

    What is no token is unknown here, so that other sources may have it. The issuer being unavailable at start-up is
    no error: tokens are `SourceUnavailable` until it is there.

    Args:
        fetch: gets the JWKS document; by default from `settings.jwks`.
        clock: monotonic seconds.
        sleep: waits between two fetches.
    """

    def __init__(
        self,
        settings: JwtSettings,
        *,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings, self._sleep = settings, sleep
        self._options: Options = {**_CHECKS, "verify_aud": settings.audience is not None}
        self._cache: OrderedDict[bytes, Found] = OrderedDict()
        self._issuer = Issuer(fetch or fetcher(settings.jwks), self._cache.clear, clock)
        self._refresher: asyncio.Task[None] | None = None

    async def find(self, secret: str) -> Found | None:
        digest = sha256(secret)
        found = self._cache.get(digest)
        if found is not None:
            self._cache.move_to_end(digest)
            return found
        if not secret.startswith("eyJ") or secret.count(".") != 2:  # `{"` in base64, and three parts
            return None
        found = await self._verified(secret, digest)
        self._cache[digest] = found
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return found

    async def refresh(self) -> None:
        """Fetch the issuer's keys."""
        await self._issuer.refresh()

    async def open(self) -> None:
        await self.refresh()
        self._refresher = asyncio.create_task(self._refresh())

    async def close(self) -> None:
        await stopped(self._refresher)
        await self._issuer.close()

    def __repr__(self) -> str:
        return f"JwtKeys({self._settings.issuer!r})"

    async def _refresh(self) -> None:
        while True:
            await self._sleep(self._settings.refresh_seconds)
            await self.refresh()

    async def _verified(self, token: str, digest: bytes) -> Found:
        """Raises `SecretRefused`, `SourceUnavailable`."""
        try:
            claims = await self._claims(token, self._header(token))
        except InvalidIssuerError:  # no warning: behind us another source may know this issuer
            raise SecretRefused("wrong_issuer", "This token was issued by somebody else.") from None
        except InvalidAudienceError:
            self._note("its 'aud' is missing, or another one than 'audience'")
            raise SecretRefused("wrong_audience", "This token was issued for another service.") from None
        except SecretRefused:
            self._note("its issuer does not publish the key that it is signed with")
            raise
        except (PyJWTError, ValueError, TypeError, RecursionError) as error:
            self._note(_reason_of(error))
            raise SecretRefused("invalid_token", "This token is not valid.") from None
        secret = SecretDigest(digest, hint(token), LONG_AGO)
        return Found(key_of(claims, secret, self._settings), secret)

    def _note(self, reason: str) -> None:
        """For the operator, who cannot tell from a 401. Nothing of the token is repeated."""
        logger.warning("a token of %s was refused: %s", self._settings.issuer, reason)

    def _header(self, token: str) -> Mapping[str, Any]:
        """The header, unverified, of a token that claims to be our issuer's: only its keys are worth looking for."""
        found = jwt.decode_complete(token, options=_UNCHECKED)
        if found["payload"].get("iss") != self._settings.issuer:
            raise InvalidIssuerError
        header: Mapping[str, Any] = found["header"]
        return header

    async def _claims(self, token: str, header: Mapping[str, Any]) -> Mapping[str, Any]:
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms:
            raise InvalidAlgorithmError
        if not isinstance(kid, str | None):
            raise InvalidKeyError
        *others, last = await self._issuer.keys(kid, algorithm)
        for key in others:
            with suppress(InvalidSignatureError, InvalidKeyError):
                return self._signed_with(key, token, algorithm)
        return self._signed_with(last, token, algorithm)

    def _signed_with(self, key: jwt.PyJWK, token: str, algorithm: str) -> Mapping[str, Any]:
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options=self._options,
            )
        except MissingRequiredClaimError as error:
            raise (InvalidAudienceError if error.claim == "aud" else error) from None
        return claims


def _reason_of(error: Exception) -> str:
    if isinstance(error, MissingRequiredClaimError):
        return f"it has no '{error.claim}'"
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "it cannot be read")


_REASONS: Final = (
    (InvalidSignatureError, "its signature is wrong"),
    (InvalidAlgorithmError, "its 'alg' is none of 'algorithms'"),
    (InvalidKeyError, "its 'kid' is no text"),
)
