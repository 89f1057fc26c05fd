"""The direct handler: for upstreams that speak OpenAI's wire, bytes through both ways."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.stream_options import STREAM_OPTIONS, StreamOptionsRefused, asks_for_usage_only
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.direct_call import DirectCalls
from crplugins.handlers.upstream import Upstream
from crplugins.handlers.upstream_errors import refuses_stream_options


class DirectHandler:
    """Posts the client's body, with the upstream's name for the model, to one OpenAI-compatible endpoint.

    Connections are pooled and kept alive. `litellm_params` that are parameters of the request stand in for those the
    client did not send; `extra_headers` and `organization` become headers. An upstream that refuses `stream_options` is
    asked once more without.
    """

    def __init__(self, deployment: Deployment, upstream: Upstream) -> None:
        self._deployment = deployment
        self._model = upstream.model
        self._headers = _headers(deployment, upstream)
        self._defaults = {k: v for k, v in deployment.parameters.items() if k not in _NOT_IN_BODY}
        self._calls = DirectCalls(deployment, upstream)
        self._refused = StreamOptionsRefused()
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
        assert self._session is not None, "the handler was not entered"
        requested = body.get("model", str) or ""
        model = self._deployment.model_for(requested, self._model)
        exchange.served_model = model
        exchange.price = self._deployment.price_for(requested)
        sent = self._upstream_body(body, model)
        if self._refused.known(model, exchange.clock()):
            sent.remove(STREAM_OPTIONS)
        try:
            return await self._calls.call(self._session, exchange, sent.raw)
        except GatewayError as refusal:
            if not (refuses_stream_options(refusal) and asks_for_usage_only(sent)):
                raise
        self._refused.remember(model, exchange.clock())
        sent.remove(STREAM_OPTIONS)
        return await self._calls.call(self._session, exchange, sent.raw)

    def _upstream_body(self, body: Body, model: str) -> Body:
        """The client's bytes; only the model's name and missing defaults are written into them."""
        copy = body.copy()
        if copy.get("model", str) != model:
            copy.set("model", model)
        for key, value in self._defaults.items():
            if key not in copy:
                copy.set(key, value)
        return copy


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
