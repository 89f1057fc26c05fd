"""DirectHandler: for upstreams that speak OpenAI's wire format. Bytes pass unchanged in both directions.

The handler writes the body and retries once without `stream_options`; DirectCalls sends one request and reads its
answer or refusal; DirectStream relays an answer that is a stream.
"""

import asyncio
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.network import Network
from crplugins.core.response_ids import ResponsesPlace
from crplugins.core.sse import Event
from crplugins.core.stream_options import STREAM_OPTIONS, StreamOptionsRefused, asks_for_usage_only
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.direct_calls import LINGER_SECONDS, DirectCalls
from crplugins.handlers.direct_headers import NO_HEADERS, UpstreamHeaders, place_of
from crplugins.handlers.direct_query import asking_query, stored_query
from crplugins.handlers.http.client import HttpClient, header_lines
from crplugins.handlers.http.interface import Endpoint
from crplugins.handlers.litellm_settings import DROPPED, is_parameter
from crplugins.handlers.upstream import ANTHROPIC, Upstream
from crplugins.handlers.upstream_errors import refuses_stream_options

if TYPE_CHECKING:
    from crplugins.handlers.dropped_parameters import DroppedParameters


class DirectHandler:
    """Posts the client's body, with the upstream's name for the model, to an endpoint of one compatible upstream.

    Connections are pooled and kept alive. `litellm_params` that are parameters of the request are the defaults for
    those the client did not send, and so are the members of `extra_body`; `additional_drop_params` are not sent;
    `extra_headers` and `organization` become headers. No other word leaves. A request that the upstream
    refuses because of `stream_options` is retried once without them, and later requests are sent without them at once.

    Args:
        network: how the upstream is reached, ready for it; by default it is found out when the handler is entered.

    Raises `ValueError` for a header that cannot be sent.
    """

    def __init__(self, deployment: Deployment, upstream: Upstream, network: Network | None = None) -> None:
        self._deployment = deployment
        self._model = upstream.model
        self._upstream = upstream
        self._defaults: dict[Dialect, Mapping[str, Any]] = {}
        self._dropped = _dropped(deployment.parameters.get(DROPPED))
        self._calls = DirectCalls(deployment, upstream)
        self._refused = StreamOptionsRefused()
        self._base_url = upstream.base_url
        self._models_url = f"{upstream.base_url}/models"
        self._network = network
        self._client: HttpClient | None = None
        listing = UpstreamHeaders(deployment, upstream, MESSAGES if upstream.provider == ANTHROPIC else CHAT)
        self._models_headers = {**listing.fixed, **listing.passed_on(())}
        header_lines(self._models_headers)  # what is wrong with one is said now
        self._endpoints: dict[tuple[Dialect, str], tuple[Endpoint, UpstreamHeaders]] = {}
        self._models: Endpoint | None = None

    @cached_property
    def place(self) -> ResponsesPlace:
        """Where the upstream keeps responses."""
        return place_of(self._upstream, UpstreamHeaders(self._deployment, self._upstream, RESPONSES).fixed)

    async def __aenter__(self) -> Self:
        if self._network is None:
            self._network = await asyncio.to_thread(lambda: self._deployment.network().ready(self._base_url))
        self._client = HttpClient(self._network)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        dialect = exchange.upstream_dialect
        query = asking_query(exchange.query, dialect) if exchange.query and dialect.queries else ""
        endpoint, headers = self._endpoints.get((dialect, query)) or self._endpoint_of(dialect, query)
        passed_on = headers.passed_on(exchange.headers) if dialect.features else NO_HEADERS
        if dialect.form:
            passed_on = {"Content-Type": body.content_type}  # the boundary of each is another
        requested = body.get("model", str) or ""
        model = self._deployment.model_for(requested, self._model)
        exchange.served_model = model
        exchange.price, exchange.price_of = self._deployment.price_for(requested), self._deployment.price_of
        if dialect.keeps_answers:
            exchange.kept_at = self.place
            if exchange.unended is not None:
                exchange.unended.kept(self.place, self._state, self._calls.failure_in)
        sent = self._upstream_body(body, requested, model, self._defaults[dialect])
        if self._refused.known(model, sent, exchange.clock()):
            sent.remove(STREAM_OPTIONS)
        try:
            calling = self._calls.call(endpoint, exchange, sent.raw, passed_on, dialect)
            return await (calling if exchange.unended is None else exchange.unended.outlive(calling))
        except GatewayError as refusal:
            if not (refuses_stream_options(refusal) and asks_for_usage_only(sent)):
                raise
        sent.remove(STREAM_OPTIONS)
        calling = self._calls.call(endpoint, exchange, sent.raw, passed_on, dialect)
        reply = await (calling if exchange.unended is None else exchange.unended.outlive(calling))
        self._refused.remember(model, sent, exchange.clock())
        return reply

    async def _state(self, own_id: str) -> Event:
        """The response that the upstream keeps under this id of its own. Raises `GatewayError` as `answer`."""
        assert self._client is not None, "the handler was not entered"
        headers = UpstreamHeaders(self._deployment, self._upstream, RESPONSES).fixed
        return await self._calls.look(
            self._client.endpoint(f"{self._base_url}{RESPONSES.path}/{quote(own_id, safe='')}", headers)
        )

    async def forward(self, exchange: Exchange, below: str) -> Reply:
        """The upstream's answer to a request about what it keeps. `below` is the path after its base URL.

        Raises `GatewayError` as `answer`.
        """
        assert self._client is not None, "the handler was not entered"
        headers = UpstreamHeaders(self._deployment, self._upstream, exchange.dialect).fixed
        endpoint = self._client.endpoint(self._base_url + below + stored_query(exchange.query), headers)
        return await self._calls.call(endpoint, exchange, b"", NO_HEADERS, exchange.dialect)

    def _endpoint_of(self, dialect: Dialect, query: str) -> tuple[Endpoint, UpstreamHeaders]:
        assert self._client is not None, "the handler was not entered"
        headers = UpstreamHeaders(self._deployment, self._upstream, dialect)
        endpoint = self._client.endpoint(self._base_url + dialect.path + query, headers.fixed)
        self._endpoints[dialect, query] = endpoint, headers
        self._defaults[dialect] = _defaults(self._deployment.parameters, dialect)
        return endpoint, headers

    @property
    def models_at(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Where the models are listed, and with which headers that is asked for."""
        return self._models_url, tuple(self._models_headers.items())

    async def models_status(self, seconds: float) -> int:
        """The status of the upstream's list of models. Raises `HttpError`, and `TimeoutError` after `seconds`."""
        assert self._client is not None, "the handler was not entered"
        if self._models is None:
            self._models = self._client.endpoint(self._models_url, self._models_headers)
        response = await self._models.get(seconds=seconds)
        response.close(LINGER_SECONDS)
        return response.status

    def _upstream_body(self, body: Body, requested: str, model: str, defaults: Mapping[str, Any]) -> Body:
        """The client's bytes; only the model's name and missing defaults are written into them."""
        copy = body.copy()
        if requested != model:
            copy.set("model", model)
        for key, value in defaults.items():
            if key not in copy:
                copy.set(key, value)
        if self._dropped is not None:
            self._dropped.take_from(copy)
        return copy


def _dropped(given: Any) -> "DroppedParameters | None":
    if not given:
        return None
    from crplugins.handlers.dropped_parameters import DroppedParameters  # not needed by most

    return DroppedParameters(given)


def _defaults(parameters: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """What is written into a request that lacks it: no parameter of chat completions that is none of the dialect."""
    if not dialect.uses_tokens:
        return {}
    extra: Mapping[str, Any] = parameters.get("extra_body") or {}
    meant = {key: value for key, value in parameters.items() if is_parameter(key) and dialect.has(key)}
    return {**extra, **meant}
