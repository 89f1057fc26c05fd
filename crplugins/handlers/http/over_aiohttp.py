"""The same over aiohttp, for what our own client does not do: proxies, and credentials in a URL."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
from yarl import URL

from crplugins.core.network import Network
from crplugins.handlers.http.deadline import LOOK_AGAIN_SECONDS, MovingDeadline
from crplugins.handlers.http.interface import (
    NEVER,
    ConnectTimeout,
    HttpError,
    NoConnection,
    Response,
    Through,
    WholeTimeout,
    broken_by,
)

_MOST_BYTES: Final = 1 << 20
"""Of more bytes than these aiohttp warns that they are no stream."""

_FAILURES: Final = (aiohttp.ClientError, OSError, ValueError)


class AiohttpClient:
    """One session, which knows nothing of cookies, redirects and the environment."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ssl=network.tls),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def endpoint(self, url: str, headers: Mapping[str, str]) -> "AiohttpEndpoint":
        return AiohttpEndpoint(self._session, url, headers, self._network.proxy(url))

    async def close(self) -> None:
        await self._session.close()


class AiohttpEndpoint:
    """An `Endpoint` (interface.py)."""

    def __init__(self, session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], proxy: str | None) -> None:
        self._session = session
        self._url = URL(url)
        self._headers = dict(headers)
        self._proxy = proxy

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        connect_seconds: float,
        seconds: float,
        whole_seconds: float = NEVER,
    ) -> Awaitable[Response]:
        return self._send("POST", body, headers, connect_seconds, seconds, whole_seconds)

    def get(self, *, seconds: float) -> Awaitable[Response]:
        return self._send("GET", None, {}, seconds, seconds, NEVER)

    def delete(self, *, seconds: float) -> Awaitable[Response]:
        return self._send("DELETE", None, {}, seconds, seconds, NEVER)

    async def _send(
        self,
        method: str,
        body: bytes | None,
        headers: Mapping[str, str],
        connect_seconds: float,
        seconds: float,
        whole_seconds: float,
    ) -> Response:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(seconds, whole_seconds)):
                response = await self._session.request(
                    method,
                    self._url,
                    data=body if body is None or len(body) <= _MOST_BYTES else io.BytesIO(body),
                    headers={**self._headers, **headers},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(sock_connect=connect_seconds),
                    proxy=self._proxy,
                )
        except aiohttp.ConnectionTimeoutError:
            raise ConnectTimeout from None
        except TimeoutError:
            raise WholeTimeout if whole_seconds <= seconds else TimeoutError from None
        except aiohttp.ClientConnectorError as error:
            raise NoConnection(str(broken_by(error))) from None
        except _FAILURES as error:
            raise broken_by(error) from None
        return AiohttpResponse(response, now + seconds, now + whole_seconds)


class AiohttpResponse:
    """A `Response` (interface.py)."""

    def __init__(self, response: aiohttp.ClientResponse, expires_at: float, over_at: float) -> None:
        self._response = response
        self._expired: TimeoutError | None = None
        self._closed = self._read_now = False
        self._taken = 0  # bytes of the body when it was last read
        self._deadline = MovingDeadline(asyncio.get_running_loop(), self._expire)
        self._deadline.latest = over_at
        self._deadline.move(expires_at)
        self.status: Final = response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self._response.headers.items()}

    @property
    def ended(self) -> bool:
        return self._closed or self._response.content.at_eof()

    def take(self) -> bytes:
        try:
            return b"" if self._closed else self._response.content.read_nowait()
        except _FAILURES as error:
            raise self._failure(error) from None

    def pass_through(self, through: Through, left: Callable[[], float]) -> None:
        """aiohttp gives its bytes to tasks alone."""

    async def read(self) -> bytes:
        self._read_now = True
        try:
            return b"" if self._closed else await self._response.content.readany()
        except _FAILURES as error:
            raise self._failure(error) from None
        finally:
            self._read_now, self._taken = False, self._response.content.total_bytes

    def expire_in(self, seconds: float) -> None:
        if not self._closed:
            self._deadline.move(asyncio.get_running_loop().time() + seconds)

    def close(self, linger: float = 0.0) -> None:
        if self._closed:
            return
        self._closed = True
        self._deadline.cancel()
        if self._response.content.at_eof():
            self._response.release()
        elif linger > 0:
            task = asyncio.create_task(_read_end(self._response, linger))
            _lingering.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(_lingering.discard)
        else:
            self._response.close()

    def _failure(self, error: Exception) -> HttpError | TimeoutError:
        if self._expired is not None:
            return self._expired
        return TimeoutError() if isinstance(error, TimeoutError) else broken_by(error)

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        is_late = now >= self._deadline.latest
        # Whoever reads is slow, or the loop late: then the upstream may not have been silent.
        is_silent = self._read_now and self._response.content.total_bytes == self._taken
        if not (is_silent or is_late):
            self._deadline.move(now + LOOK_AGAIN_SECONDS)
            return
        self._expired = WholeTimeout() if is_late else TimeoutError()
        self._response.close()


_lingering: Final[set[asyncio.Task[None]]] = set()


async def _read_end(response: aiohttp.ClientResponse, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while await response.content.readany():
                pass
    except (TimeoutError, *_FAILURES):
        pass
    if response.content.at_eof():
        response.release()
    else:
        response.close()
