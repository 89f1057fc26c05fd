"""The direct handler: for upstreams that speak OpenAI's wire, bytes through both ways."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.sse import Event
from crplugins.handlers import upstream_errors
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.direct_stream import DirectStream
from crplugins.handlers.replies import document_reply, stream_reply
from crplugins.handlers.upstream import Upstream

_MAX_ERROR_BYTES: Final = 1024 * 1024


class DirectHandler:
    """Posts the client's body, with the upstream's name for the model, to one OpenAI-compatible endpoint.

    Connections are pooled and kept alive. `litellm_params` that are parameters of the request stand in for those the
    client did not send; `extra_headers` and `organization` become headers.
    """

    def __init__(self, deployment: Deployment, upstream: Upstream) -> None:
        self._deployment = deployment
        self._model = upstream.model
        self._url = URL(f"{upstream.base_url}/chat/completions")
        self._secrets = (upstream.api_key, upstream.base_url)
        self._headers = _headers(deployment, upstream)
        self._defaults = {k: v for k, v in deployment.parameters.items() if k not in _NOT_IN_BODY}
        self._plain_bounds = aiohttp.ClientTimeout(total=deployment.timeout, sock_connect=deployment.connect_timeout)
        # No sock_read: aiohttp would set a timer for each chunk, which costs more than relaying it.
        self._stream_bounds = aiohttp.ClientTimeout(sock_connect=deployment.connect_timeout)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            headers=self._headers,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        model = self._deployment.model_for(body.get("model", str) or "", self._model)
        exchange.begin_attempt(self._deployment.provider)
        exchange.served_model = model
        call = self._begin_stream if exchange.stream else self._call
        try:
            return await call(self._upstream_body(body, model))
        except TimeoutError:
            raise upstream_errors.timed_out(self._deployment.name) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise upstream_errors.unreachable(self._deployment.name, error) from None

    def _upstream_body(self, body: Body, model: str) -> bytes:
        """The client's bytes; only the model's name and missing defaults are written into them."""
        copy = body.copy()
        if copy.get("model", str) != model:
            copy.set("model", model)
        for key, value in self._defaults.items():
            if key not in copy:
                copy.set(key, value)
        return copy.raw

    async def _begin_stream(self, body: bytes) -> Reply:
        """The same for a stream, whose time is bounded to its first event here and between events by DirectStream."""
        async with asyncio.timeout(self._deployment.timeout):
            return await self._call(body, self._stream_bounds)

    async def _call(self, body: bytes, bounds: aiohttp.ClientTimeout | None = None) -> Reply:
        assert self._session is not None, "the handler was not entered"
        bounds = bounds or self._plain_bounds
        response = await self._session.post(self._url, data=body, allow_redirects=False, timeout=bounds)
        try:
            return await self._reply(response)
        except BaseException:
            response.close()
            raise

    async def _reply(self, response: aiohttp.ClientResponse) -> Reply:
        if response.status != 200:
            raise await self._refusal(response)
        if response.content_type == "text/event-stream":
            return await self._stream(response)
        return await self._document(response)

    async def _stream(self, response: aiohttp.ClientResponse) -> Reply:
        stream = DirectStream(self._deployment.name, self._secrets, response, self._deployment.timeout)
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


# `litellm_params` that describe the way to the upstream, not the request.
_NOT_IN_BODY: Final = frozenset({"extra_headers", "organization", "max_retries", "drop_params", "use_in_pass_through"})


def _headers(deployment: Deployment, upstream: Upstream) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "crplugins"}
    if upstream.api_key:
        headers["Authorization"] = f"Bearer {upstream.api_key}"
    if "organization" in deployment.parameters:
        headers["OpenAI-Organization"] = str(deployment.parameters["organization"])
    extra: Mapping[str, Any] = deployment.parameters.get("extra_headers") or {}
    headers.update({str(k): str(v) for k, v in extra.items()})
    return headers
