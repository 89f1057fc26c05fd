"""fetch: what a gateway answers that runs already, for the commands that ask it."""

import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import unquote, urlsplit

from crplugins.cli.refused import Refused

TIMEOUT: Final = 10.0


def fetch(url: str, headers: Mapping[str, str], *, method: str = "GET", seconds: float = TIMEOUT) -> tuple[int, str]:
    """Status and body. Follows no redirect, which could send a token to another server. Raises `Refused`."""
    parts = urlsplit(url)
    unix = parts.scheme == "http+unix"  # where the case of letters counts
    connection = _connection(parts.scheme, parts.netloc if unix else parts.hostname or "", parts.port, seconds)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise Refused(f"no gateway answers at {url}: {_reason(error)}") from None
    finally:
        connection.close()


class _UnixConnection(HTTPConnection):
    """To a Unix socket, whose path is the host of its URL, escaped."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(unquote(self.host))


def _connection(scheme: str, host: str, port: int | None, seconds: float) -> HTTPConnection:
    if scheme == "http+unix":
        return _UnixConnection(host, timeout=seconds)
    if scheme == "https":
        return HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
    return HTTPConnection(host, port, timeout=seconds)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
