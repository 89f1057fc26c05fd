"""fetch: what a gateway answers that runs already, for the commands that ask it."""

import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from crplugins.cli.refused import Refused

TIMEOUT: Final = 10.0


def fetch(url: str, headers: Mapping[str, str], *, method: str = "GET", seconds: float = TIMEOUT) -> tuple[int, str]:
    """Status and body. Follows no redirect, which could send a token to another server. Raises `Refused`."""
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, seconds)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise Refused(f"no gateway answers at {url}: {_reason(error)}") from None
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None, seconds: float) -> HTTPConnection:
    if scheme == "https":
        return HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
    return HTTPConnection(host, port, timeout=seconds)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
