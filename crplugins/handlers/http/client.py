"""HttpClient: endpoints by their URLs, each over our own HTTP/1.1 or, behind a proxy, over aiohttp."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, quote, urlsplit

from crplugins.core.network import Network
from crplugins.handlers.http.interface import NEVER, Endpoint, Response
from crplugins.handlers.http.pool import Origin, Pool
from crplugins.handlers.http.response import response_over

if TYPE_CHECKING:
    from crplugins.handlers.http.over_aiohttp import AiohttpClient

_PORTS: Final = {"http": 80, "https": 443}
_OF_THE_BODY: Final = ("content-length", "transfer-encoding")
_AS_THEY_ARE: Final = "%/:?#[]@!$&'()*+,;=-._~"
"""Characters that a URL may have (RFC 3986), and the escape of all others."""


class HttpClient:
    """Reaches servers as `network` says. To be made in the loop that it is used in.

    `permits` says whether a connection may be made to an IP address, whatever name it was found by; behind a proxy
    it is not asked, as the proxy finds the address.

    A request that one server reads twice may cost twice: what was sent is never sent again. A connection that its
    server closes at the moment it is used again is a failed request, which another deployment may answer.
    """

    def __init__(self, network: Network, permits: Callable[[str], bool] | None = None) -> None:
        self._network, self._permits = network, permits
        self._pools: dict[Origin, Pool] = {}
        self._aiohttp: AiohttpClient | None = None

    async def close(self) -> None:
        """Closes all connections. Answers that are on their way break."""
        for pool in self._pools.values():
            await pool.close()
        if self._aiohttp is not None:
            await self._aiohttp.close()

    def endpoint(self, url: str, headers: Mapping[str, str]) -> Endpoint:
        """Where requests with these headers go. Raises `ValueError` for a header that cannot be sent."""
        parts = urlsplit(url)
        if self._network.proxy(url) is not None or not _is_plain(parts):
            return self._over_aiohttp().endpoint(url, headers)
        host = _ascii_host(parts)
        tls = self._network.tls if parts.scheme == "https" else None
        origin = Origin(host, parts.port or _PORTS[parts.scheme], tls)
        if origin not in self._pools:
            self._pools[origin] = Pool(origin, self._permits)
        return PooledEndpoint(self._pools[origin], *_head(parts, host, headers))

    def _over_aiohttp(self) -> "AiohttpClient":
        if self._aiohttp is None:
            from crplugins.handlers.http.over_aiohttp import AiohttpClient  # 0.2 s and 10 MB that few need

            self._aiohttp = AiohttpClient(self._network)
        return self._aiohttp


class PooledEndpoint:
    """An `Endpoint` (interface.py) over connections of ours.

    Args:
        target: the first line of a request after its method.
        lines: the headers that are always the same.
    """

    def __init__(self, pool: Pool, target: bytes, lines: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = pool
        self._get = b"GET %b%b\r\n" % (target, lines)
        self._delete = b"DELETE %b%b\r\n" % (target, lines)
        self._post = b"POST %b%bContent-Length: " % (target, lines)

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        connect_seconds: float,
        seconds: float,
        whole_seconds: float = NEVER,
    ) -> Awaitable[Response]:
        head = b"%b%d\r\n%b\r\n" % (self._post, len(body), header_lines(headers) if headers else b"")
        return self._send(head, body, connect_seconds, seconds, whole_seconds)

    def get(self, *, seconds: float) -> Awaitable[Response]:
        return self._send(self._get, b"", seconds, seconds, NEVER)

    def delete(self, *, seconds: float) -> Awaitable[Response]:
        return self._send(self._delete, b"", seconds, seconds, NEVER)

    async def _send(
        self, head: bytes, body: bytes, connect_seconds: float, seconds: float, whole_seconds: float
    ) -> Response:
        now = self._loop.time()
        connection = self._pool.take() or await self._pool.open(min(connect_seconds, seconds, whole_seconds))
        try:
            connection.send(head, body, now + seconds, now + whole_seconds)
            await connection.head()
        except BaseException:
            connection.abort()
            raise
        return response_over(connection)


def header_lines(headers: Mapping[str, str]) -> bytes:
    """The lines of a head. Raises `ValueError` for a name or a value that would end its line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header holds a line break")
    return lines.encode()


def _head(parts: SplitResult, host: str, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
    target = quote(parts.path or "/", safe=_AS_THEY_ARE)
    if parts.query:
        target += "?" + quote(parts.query, safe=_AS_THEY_ARE)
    named = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    lines = {"host": ("Host", named + port)} | {name.lower(): (name, value) for name, value in headers.items()}
    fixed = header_lines(dict(line for name, line in lines.items() if name not in _OF_THE_BODY))
    return f"{target} HTTP/1.1\r\n".encode(), fixed


def _is_plain(parts: SplitResult) -> bool:
    return parts.scheme in _PORTS and bool(parts.hostname) and "@" not in parts.netloc


def _ascii_host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return host if host.isascii() else host.encode("idna").decode("ascii")
