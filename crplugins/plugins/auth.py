"""Auth: requires a key for everything but a few public paths (RFC 6750)."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Self

from crplugins.core.errors import GatewayError, Header
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.patterns import PathSet
from crplugins.core.plugin import Plugin
from crplugins.keys.inline import HasKeyTable, InlineKey, InlineKeys, KeyTable
from crplugins.keys.key import Key, utc_now
from crplugins.keys.refusals import AuthReason, masked, no_key, refused, unavailable, wrong_key
from crplugins.keys.source import Found, KeySource, SecretRefused, SourceUnavailable

__all__ = ["PUBLIC_PATHS", "REFUSED", "Auth", "InlineKey", "masked"]

PUBLIC_PATHS: Final = ("/healthz", "/readyz", "/health")

REFUSED: Final[Slot[AuthReason]] = Slot("auth.refused")
"""Why this request was refused, for plugins that count refusals."""

logger = logging.getLogger("crplugins.auth")


class Auth(Plugin):
    """Finds the principal of a request by its key, or refuses with OpenAI's 401.

    Guards every HTTP path and every WebSocket of the app behind it, chat or not. The key is read from
    `authorization: Bearer`, else from `x-api-key`, else from `api-key`.

    Args:
        keys: a source, opened and closed with this plugin; or the keys themselves, as in the configuration.
        public_paths: paths that need no key; one that ends with `/*` matches all paths below it but chat completions,
            which a router could answer there too.
        now: the wall clock by which keys expire.

    Raises `ConfigError` for an invalid list of keys.
    """

    every_path: bool = True
    every_websocket: bool = True

    def __init__(
        self,
        keys: KeySource | Iterable[Mapping[str, Any] | InlineKey | Key],
        *,
        public_paths: Iterable[str] = PUBLIC_PATHS,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.source: Final[KeySource] = InlineKeys(keys) if isinstance(keys, Iterable) else keys
        self._tables = self.source if isinstance(self.source, HasKeyTable) else None
        self._keyless = isinstance(self.source, InlineKeys) and not self.source.keys
        self.refusals: Final[Counter[AuthReason]] = Counter()
        self._public = PathSet(public_paths)
        self._now = now

    def on_request(self, exchange: Exchange) -> Awaitable[None] | None:
        """Waits only for a source that has to ask somebody, and for a header that has not been shown yet."""
        if exchange.path in self._public and (not exchange.asks_model or self._public.names(exchange.path)):
            return None
        if self._keyless and exchange.principal is not None:
            return None
        table = None if self._tables is None else self._tables.key_table
        if table is None:
            return self._find(exchange, None)
        for name, value in exchange.headers:
            if name == b"authorization":
                found = table.shown.get(sha256(value).digest())
                if found is None:
                    return self._find(exchange, table)
                self._admit(exchange, found)
                return None
        return self._find(exchange, table)

    async def _find(self, exchange: Exchange, table: KeyTable | None) -> None:
        """Admit who shows a key in any of the headers."""
        secret = presented_secret(exchange.headers)
        if secret is None:
            raise self._refusal(exchange, "missing", no_key())
        try:
            found = await self.source.find(secret)
        except SourceUnavailable:
            raise self._refusal(exchange, "unavailable", unavailable()) from None
        except SecretRefused as error:
            raise self._refusal(exchange, error.reason, refused(str(error))) from None
        if found is None:
            raise self._refusal(exchange, "unknown", wrong_key(secret))
        if table is not None:  # of this header it is found whatever else is shown, and no other spelling is kept
            table.shown[sha256(b"Bearer " + secret.encode("latin-1")).digest()] = found
        self._admit(exchange, found)

    def _admit(self, exchange: Exchange, found: Found) -> None:
        """Raise for a key that is known and not valid now."""
        key, not_after, now = found.key, found.secret.not_after, self._now()
        if key.disabled:
            raise self._refusal(exchange, "disabled", refused("This API key is disabled."))
        if not_after is not None and not_after <= now:
            raise self._refusal(exchange, "revoked", refused("This API key has been revoked or replaced."))
        if key.expires is not None and key.expires <= now:
            raise self._refusal(exchange, "expired", refused("This API key has expired."))
        if key.not_before is not None and now < key.not_before:
            raise self._refusal(exchange, "not_yet_valid", refused("This API key is not yet valid."))
        exchange.principal = key.principal
        exchange.authenticate = self.on_request

    def _refusal(self, exchange: Exchange, reason: AuthReason, error: GatewayError) -> GatewayError:
        self.refusals[reason] += 1
        REFUSED.set(exchange, reason)
        logger.warning("request %s refused: API key %s", exchange.id, reason)
        return error

    async def __aenter__(self) -> Self:
        await self.source.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.source.__aexit__(kind, error, traceback)


_BARE: Final = (b"x-api-key", b"api-key")
"""Headers that contain the key and nothing else, in order of precedence."""


def presented_secret(headers: Sequence[Header]) -> str | None:
    """The key of `authorization: Bearer`, else of `x-api-key`, else of `api-key`; it may contain spaces.

    None for another scheme or an empty key. Of a repeated header the first one counts.
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
