"""What clients trust is read once per process: two hundred certificates, which takes longer than most requests."""

import functools
import os
import ssl
from collections.abc import Callable
from typing import Any

import httpx._transports.default
import httpx2._transports.default

_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def share_trust() -> None:
    """Clients of httpx that say nothing about certificates have one SSL context in common, for the same environment."""
    for transports in (httpx._transports.default, httpx2._transports.default):
        transports.create_ssl_context = _shared(transports.create_ssl_context)


def _shared(make: Callable[..., ssl.SSLContext]) -> Callable[..., ssl.SSLContext]:
    @functools.cache
    def usual(trust_env: bool, *environ: str | None) -> ssl.SSLContext:
        return make(verify=True, cert=None, trust_env=trust_env)

    def create_ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is True and cert is None:
            return usual(trust_env, *map(os.environ.get, _VARIABLES))
        return make(verify=verify, cert=cert, trust_env=trust_env)

    return create_ssl_context
