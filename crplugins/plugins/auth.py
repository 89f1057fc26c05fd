"""Auth: a Bearer key in front of everything but a few public paths (RFC 6750)."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal

PUBLIC_PATHS: Final = ("/healthz", "/readyz", "/health")


@dataclass(frozen=True, slots=True)
class InlineKey:
    """A key written into the configuration."""

    id: str
    secret: str = field(repr=False)


class Auth(Plugin):
    """Finds the principal of a request by its key, or refuses with OpenAI's 401.

    Guards every http path of the app it stands before, chat or not. Only digests of the secrets are kept, and one
    digest is looked up per request, so the time taken tells nothing about how much of a wrong key was right.

    Args:
        keys: the keys that may call.
        public_paths: paths that need none.
    """

    chat_only: ClassVar[bool] = False

    def __init__(self, keys: Iterable[InlineKey], *, public_paths: Iterable[str] = PUBLIC_PATHS) -> None:
        self._principals: Mapping[bytes, Principal] = {_digest(key.secret): Principal(key.id) for key in keys}
        self._public = frozenset(public_paths)

    async def on_request(self, exchange: Exchange) -> None:
        if exchange.path in self._public:
            return
        secret = _bearer(exchange.header(b"authorization"))
        if secret is None:
            raise _no_key()
        principal = self._principals.get(_digest(secret))
        if principal is None:
            raise _wrong_key(secret)
        exchange.principal = principal


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _bearer(header: str | None) -> str | None:
    """The key of an Authorization header; it may hold spaces. None for another scheme or an empty key."""
    scheme, _, secret = (header or "").strip().partition(" ")
    return secret.strip() or None if scheme.lower() == "bearer" else None


def _no_key() -> GatewayError:
    return GatewayError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from "
        "https://platform.openai.com/account/api-keys.",
        headers=[("www-authenticate", "Bearer")],
    )


def _wrong_key(secret: str) -> GatewayError:
    return GatewayError(
        401,
        f"Incorrect API key provided: {masked(secret)}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
        headers=[("www-authenticate", 'Bearer error="invalid_token"')],
    )


def masked(secret: str) -> str:
    """A key as an error may show it: enough to tell which of one's own keys it was, too little to use it.

    Nothing of a short key is shown: four characters of eight would be half of it.
    """
    if len(secret) < 16:
        return "*" * len(secret)
    prefix = secret[:3] if secret.startswith("sk-") else ""
    return f"{prefix}****{secret[-4:]}"
