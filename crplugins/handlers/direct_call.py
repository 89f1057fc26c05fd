"""DirectCall: one request to an upstream that speaks OpenAI's wire, and what its answer becomes."""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
from yarl import URL

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Attempt, Exchange, Reply
from crplugins.core.sse import Event
from crplugins.core.trace import trace_headers
from crplugins.handlers import upstream_errors
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.direct_stream import DirectStream
from crplugins.handlers.replies import document_reply, stream_reply
from crplugins.handlers.upstream import Upstream

_MAX_ERROR_BYTES: Final = 1024 * 1024


class DirectCalls:
    """The way to one deployment's upstream."""

    def __init__(self, deployment: Deployment, upstream: Upstream) -> None:
        self._deployment = deployment
        self._url = URL(f"{upstream.base_url}/chat/completions")
        self._secrets = (upstream.api_key, upstream.base_url)
        self._plain_bounds = aiohttp.ClientTimeout(total=deployment.timeout, sock_connect=deployment.connect_timeout)
        # No sock_read: aiohttp would set a timer for each chunk, which costs more than relaying it.
        self._stream_bounds = aiohttp.ClientTimeout(sock_connect=deployment.connect_timeout)

    async def call(self, session: aiohttp.ClientSession, exchange: Exchange, body: bytes) -> Reply:
        """The answer, or its begun stream. Keeps the attempt up to its end, which for a stream comes later."""
        attempt = exchange.begin_attempt(self._deployment.provider, self)
        try:
            reply = await self._translated(session, exchange, attempt, body)
        except GatewayError as error:
            attempt.fail(error, exchange.clock())
            raise
        except BaseException:
            attempt.ended = exchange.clock()
            raise
        if isinstance(reply.body, bytes):
            attempt.ended = exchange.clock()
        return reply

    async def _translated(
        self, session: aiohttp.ClientSession, exchange: Exchange, attempt: Attempt, body: bytes
    ) -> Reply:
        try:
            if not exchange.stream:
                return await self._post(session, exchange, attempt, body, self._plain_bounds)
            async with asyncio.timeout(self._deployment.timeout):  # to the first event; DirectStream bounds the rest
                return await self._post(session, exchange, attempt, body, self._stream_bounds)
        except TimeoutError:
            raise upstream_errors.timed_out(self._deployment.name) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise upstream_errors.unreachable(self._deployment.name, error) from None

    async def _post(
        self,
        session: aiohttp.ClientSession,
        exchange: Exchange,
        attempt: Attempt,
        body: bytes,
        bounds: aiohttp.ClientTimeout,
    ) -> Reply:
        headers = trace_headers(exchange) if self._deployment.forwards_trace else None
        response = await session.post(self._url, data=body, headers=headers, allow_redirects=False, timeout=bounds)
        try:
            return await self._reply(response, exchange, attempt)
        except BaseException:
            response.close()
            raise

    async def _reply(self, response: aiohttp.ClientResponse, exchange: Exchange, attempt: Attempt) -> Reply:
        if response.status != 200:
            raise await self._refusal(response)
        if response.content_type != "text/event-stream":
            return await self._document(response)
        stream = DirectStream(
            self._deployment.name, self._secrets, response, self._deployment.timeout, exchange, attempt
        )
        return stream_reply(await stream.begin())

    async def _document(self, response: aiohttp.ClientResponse) -> Reply:
        body = await response.read()
        answer = Event.json_document(body).answer
        if answer is None:
            raise upstream_errors.malformed(self._deployment.name, body[:200])
        if answer.error is not None and not answer.choices:
            raise self._refuse(upstream_errors.status_of(answer.error), body, response.headers)
        return document_reply(body)

    async def _refusal(self, response: aiohttp.ClientResponse) -> GatewayError:
        try:
            body = await response.content.read(_MAX_ERROR_BYTES)
        except (aiohttp.ClientError, OSError, ValueError):
            body = b""  # the status alone says enough
        response.release()
        return self._refuse(response.status, body, response.headers)

    def _refuse(self, status: int, body: bytes, headers: Mapping[str, str]) -> GatewayError:
        return upstream_errors.upstream_refusal(
            status,
            upstream_errors.read_error(body),
            {k.lower(): v for k, v in headers.items()},
            deployment=self._deployment.name,
            secrets=self._secrets,
        )
