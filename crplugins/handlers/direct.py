"""DirectHandler: for upstreams that speak OpenAI's wire format. Bytes pass unchanged in both directions.

The handler writes the body and retries once without `stream_options`; DirectCalls sends one request and reads its
answer or refusal; DirectStream relays an answer that is a stream.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Final, Self

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from crplugins.core.dialects.dialect import is_text_or_sound
from crplugins.core.errors import GatewayError, not_spoken
from crplugins.core.exchange import Attempt, Exchange, Reply
from crplugins.core.sse import MAX_DOCUMENT_BYTES, MOST_EVENTS, Event, begins_stream
from crplugins.core.stream_options import STREAM_OPTIONS, StreamOptionsRefused, asks_for_usage_only
from crplugins.core.trace import trace_headers
from crplugins.handlers import upstream_errors
from crplugins.handlers.deadlines import Patience
from crplugins.handlers.deployment import Deployment, secrets_of
from crplugins.handlers.direct_headers import NO_HEADERS, UpstreamHeaders, place_of
from crplugins.handlers.direct_stream import DirectStream
from crplugins.handlers.handler import document_reply, passed_reply, stream_reply
from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.http.interface import Endpoint, HttpError, NoConnection, Response
from crplugins.handlers.litellm_settings import is_parameter
from crplugins.handlers.upstream import ANTHROPIC, Upstream
from crplugins.handlers.upstream_errors import refuses_stream_options
from crplugins.handlers.whole_answer import WholeAnswers

_MOST_JOINED: Final = 250_000
"""Events of a stream in the place of a plain answer: a token each, of the longest that any model gives."""

_NO_ROUTE: Final = frozenset({404, 405, 501})
"""How an upstream says that it has no such path."""

_LINGER_SECONDS: Final = 0.25
"""How long to wait for the end of an answer that nobody reads, so that its connection can be used again."""


class DirectHandler:
    """Posts the client's body, with the upstream's name for the model, to an endpoint of one compatible upstream.

    Connections are pooled and kept alive. `litellm_params` that are parameters of the request are the defaults for
    those the client did not send, and so are the members of `extra_body`; `additional_drop_params` are not sent;
    `extra_headers` and `organization` become headers. No other word leaves. A request that the upstream
    refuses because of `stream_options` is retried once without them, and later requests are sent without them at once.
    """

    def __init__(self, deployment: Deployment, upstream: Upstream) -> None:
        self._deployment = deployment
        self._model = upstream.model
        self._upstream = upstream
        self._defaults: dict[Dialect, Mapping[str, Any]] = {}
        self._dropped = [str(name) for name in deployment.parameters.get("additional_drop_params") or ()]
        self._calls = DirectCalls(deployment, upstream)
        self._refused = StreamOptionsRefused()
        self._base_url = upstream.base_url
        self._models_url = f"{upstream.base_url}/models"
        self._client: HttpClient | None = None
        listing = UpstreamHeaders(deployment, upstream, MESSAGES if upstream.provider == ANTHROPIC else CHAT)
        self.place: Final = place_of(upstream, UpstreamHeaders(deployment, upstream, RESPONSES).fixed)
        self._models_headers = {**listing.fixed, **listing.passed_on(())}
        self._endpoints: dict[Dialect, tuple[Endpoint, UpstreamHeaders]] = {}
        self._models: Endpoint | None = None

    async def __aenter__(self) -> Self:
        network = await asyncio.to_thread(self._deployment.network)
        self._client = HttpClient(network)
        self._models = self._client.endpoint(self._models_url, self._models_headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        dialect = exchange.upstream_dialect or exchange.dialect
        endpoint, headers = self._endpoints.get(dialect) or self._endpoint_of(dialect)
        passed_on = headers.passed_on(exchange.headers) if dialect.features else NO_HEADERS
        if dialect.form:
            passed_on = {"Content-Type": body.content_type}  # the boundary of each is another
        requested = body.get("model", str) or ""
        model = self._deployment.model_for(requested, self._model)
        exchange.served_model = model
        exchange.price = self._deployment.price_for(requested)
        if dialect.keeps_answers:
            exchange.kept_at = self.place
        sent = self._upstream_body(body, model, self._defaults[dialect])
        if self._refused.known(model, sent, exchange.clock()):
            sent.remove(STREAM_OPTIONS)
        try:
            return await self._calls.call(endpoint, exchange, sent.raw, passed_on)
        except GatewayError as refusal:
            if not (refuses_stream_options(refusal) and asks_for_usage_only(sent)):
                raise
        sent.remove(STREAM_OPTIONS)
        reply = await self._calls.call(endpoint, exchange, sent.raw, passed_on)
        self._refused.remember(model, sent, exchange.clock())
        return reply

    async def forward(self, exchange: Exchange, below: str) -> Reply:
        """The upstream's answer to a request about what it keeps. `below` is the path behind its base URL.

        Raises `GatewayError` as `answer`.
        """
        assert self._client is not None, "the handler was not entered"
        headers = UpstreamHeaders(self._deployment, self._upstream, exchange.dialect).fixed
        query = f"?{exchange.query.decode('latin-1')}" if exchange.query else ""
        endpoint = self._client.endpoint(self._base_url + below + query, headers)
        return await self._calls.call(endpoint, exchange, b"", NO_HEADERS)

    def _endpoint_of(self, dialect: Dialect) -> tuple[Endpoint, UpstreamHeaders]:
        assert self._client is not None, "the handler was not entered"
        headers = UpstreamHeaders(self._deployment, self._upstream, dialect)
        endpoint = self._client.endpoint(self._base_url + dialect.path, headers.fixed)
        self._endpoints[dialect] = endpoint, headers
        self._defaults[dialect] = _defaults(self._deployment.parameters, dialect)
        return endpoint, headers

    @property
    def models_at(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Where the models are listed, and with which headers that is asked for."""
        return self._models_url, tuple(self._models_headers.items())

    async def models_status(self, seconds: float) -> int:
        """The status of the upstream's list of models. Raises `HttpError`, and `TimeoutError` after `seconds`."""
        assert self._models is not None, "the handler was not entered"
        response = await self._models.get(seconds=seconds)
        response.close(_LINGER_SECONDS)
        return response.status

    def _upstream_body(self, body: Body, model: str, defaults: Mapping[str, Any]) -> Body:
        """The client's bytes; only the model's name and missing defaults are written into them."""
        copy = body.copy()
        if copy.get("model", str) != model:
            copy.set("model", model)
        for key, value in defaults.items():
            if key not in copy:
                copy.set(key, value)
        for key in self._dropped:
            copy.remove(key)
        return copy


def _defaults(parameters: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """What is written into a request that lacks it: no parameter of chat completions that is none of the dialect."""
    if not dialect.uses_tokens:
        return {}
    extra: Mapping[str, Any] = parameters.get("extra_body") or {}
    meant = {key: value for key, value in parameters.items() if is_parameter(key) and dialect.has(key)}
    return {**extra, **meant}


class DirectCalls:
    """Sends requests to one deployment's upstream and records each as an attempt."""

    def __init__(self, deployment: Deployment, upstream: Upstream) -> None:
        self._deployment = deployment
        self._label = deployment.label
        self._secrets = secrets_of(deployment, upstream.api_key, upstream.base_url)
        self._whole = WholeAnswers(self._label, self._secrets)

    async def call(self, endpoint: Endpoint, exchange: Exchange, body: bytes, passed_on: Mapping[str, str]) -> Reply:
        """The whole answer, or the begun stream. A stream ends its attempt itself, later.

        The first deadline is that of the first token, from which DirectStream moves it. `passed_on` are headers besides
        those of the endpoint and of the trace.
        """
        attempt = exchange.begin_attempt(self._deployment.provider, self)
        patience = self._deployment.deadlines.patience(stream=exchange.stream, can_fail_over=exchange.can_fail_over)
        try:
            if exchange.asks_model or exchange.method == "POST":
                response = await endpoint.post(
                    body,
                    {**trace_headers(exchange), **passed_on} if self._deployment.forwards_trace else passed_on,
                    connect_seconds=patience.connect,
                    seconds=patience.first_token,
                    whole_seconds=patience.whole,
                )
            elif exchange.method == "DELETE":
                response = await endpoint.delete(seconds=patience.first_token)
            else:
                response = await endpoint.get(seconds=patience.first_token)
            try:
                reply = await self._reply(response, exchange, attempt, patience)
            except BaseException:
                response.close()
                raise
        except GatewayError as error:
            attempt.fail(error, exchange.clock())
            raise
        except TimeoutError as error:
            missed = patience.missed(error, spoke=False)
            raise self._failed(exchange, attempt, upstream_errors.timed_out(self._label, *missed)) from None
        except (HttpError, ValueError) as error:
            sent = not isinstance(error, NoConnection)
            raise self._failed(exchange, attempt, upstream_errors.unreachable(self._label, error, sent=sent)) from None
        except BaseException:
            attempt.end(exchange.clock())
            raise
        if isinstance(reply.body, bytes):
            attempt.end(exchange.clock())
        return reply

    def _failed(self, exchange: Exchange, attempt: Attempt, error: GatewayError) -> GatewayError:
        attempt.fail(error, exchange.clock())
        return error

    async def _reply(self, response: Response, exchange: Exchange, attempt: Attempt, patience: Patience) -> Reply:
        """The answer in the form that the client asked for. Its own form is told by its bytes, not by its headers."""
        if not 200 <= response.status < 300:
            raise await self._refusal(response, exchange)
        if exchange.dialect.passes_bytes and not exchange.stream:
            content_type = response.headers.get("content-type", "")
            if is_text_or_sound(content_type):
                return await self._passed(response, exchange, content_type)
        head, is_stream = await self._begin(response, asked=exchange.stream)
        if not exchange.asks_model:
            exchange.stream = is_stream
            if not is_stream:  # a list, or the word that something is deleted
                head = head if response.ended else await self._rest(response, head)
                response.close()
                return document_reply(head)
        if not is_stream:
            document = await self._document(response, head, exchange)
            dialect = exchange.upstream_dialect or exchange.dialect
            events = dialect.stream_of(document.raw) if exchange.stream else None
            if events is not None:
                attempt.end(exchange.clock())
                return stream_reply(_frames_of(events))
            exchange.split = document.raw, [document]
            return document_reply(document.raw)
        skips = self._deployment.skip_malformed
        stream = DirectStream(self._label, self._secrets, response, patience, skips, exchange, attempt)
        frames = await stream.begin(head)
        if exchange.stream:
            return stream_reply(frames, stream.push_to)
        return document_reply(await self._joined(frames, exchange))

    async def _passed(self, response: Response, exchange: Exchange, content_type: str) -> Reply:
        """An answer that is sound or text, as it is. JSON is judged, whatever it is called."""
        body = await self._rest(response, response.take() or await response.read())
        response.close()
        document = exchange.dialect.document(body)
        if document.answer is None or not document.answer.choices:
            raise self._whole.no_completion(body, response.headers)
        exchange.split = body, [document]
        return passed_reply(body, content_type)

    async def _begin(self, response: Response, *, asked: bool) -> tuple[bytes, bool]:
        """The first bytes, and whether they begin a stream of events; what was asked for, if there is nothing."""
        head = response.take() or await response.read()
        while (is_stream := begins_stream(head)) is None:
            piece = await response.read()
            if not piece:
                return head, asked
            head += piece
        return head, is_stream

    async def _document(self, response: Response, head: bytes, exchange: Exchange) -> Event:
        """A whole answer. Raises `GatewayError` for anything else."""
        if not response.ended:
            head = await self._rest(response, head)
        response.close()
        dialect = exchange.upstream_dialect or exchange.dialect
        document = self._whole.document_in(head, dialect)
        if document.answer is None or not document.answer.choices:
            exchange.note_unseen([document])  # some providers bill a failed answer too
            raise self._whole.no_completion(dialect.error_in(document), response.headers)
        return document

    async def _rest(self, response: Response, head: bytes) -> bytes:
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > MAX_DOCUMENT_BYTES:  # not read at all: it would be kept until then
            raise self._whole.too_long()
        parts, size = [head], len(head)
        while piece := await response.read():
            parts.append(piece)
            size += len(piece)
            if size > MAX_DOCUMENT_BYTES:
                raise self._whole.too_long()
        return b"".join(parts)

    async def _joined(self, frames: AsyncGenerator[bytes, None], exchange: Exchange) -> bytes:
        """The document that a stream tells."""
        dialect = exchange.upstream_dialect or exchange.dialect
        splitter, events, size = dialect.splitter(), list[Event](), 0
        try:
            async with aclosing(frames):
                async for piece in frames:
                    size += len(piece)
                    if size > MAX_DOCUMENT_BYTES:
                        raise self._whole.too_long()
                    events += [event for event in splitter.feed(piece) if event.data is not None]
                    if len(events) > _MOST_JOINED:
                        raise self._whole.too_long()
        except (GatewayError, asyncio.CancelledError):
            exchange.note_unseen(events)
            raise
        exchange.split = None
        for event in events:
            if event.answer is not None and event.answer.error is not None:
                exchange.note_unseen(events)
                raise upstream_errors.refusal_in_stream(dialect.error_in(event), self._label, self._secrets)
        document_of = dialect.document_of
        document = document_of(events) if len(events) <= MOST_EVENTS else await asyncio.to_thread(document_of, events)
        if document is None:
            raise self._whole.malformed("a stream where a document was asked for")
        return document

    async def _refusal(self, response: Response, exchange: Exchange) -> GatewayError:
        dialect = exchange.upstream_dialect or exchange.dialect
        if dialect.optional and response.status in _NO_ROUTE:
            response.close()
            return not_spoken(exchange.requested_model or "", dialect.path)
        body = b""
        try:
            while len(body) < upstream_errors.MAX_ERROR_BYTES and (piece := await response.read()):
                body += piece
        except HttpError:
            body = b""  # the status alone is enough
        response.close()
        return self._whole.refuse(response.status if response.status >= 400 else 502, body, response.headers)


async def _frames_of(events: Iterable[Event]) -> AsyncGenerator[bytes, None]:
    yield b"".join([event.raw for event in events])
