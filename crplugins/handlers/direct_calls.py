"""DirectCalls: one request to an upstream, and its answer or refusal."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import Final

from crplugins.core.dialects import RESPONSES
from crplugins.core.dialects.dialect import Dialect, is_document, is_text_or_sound
from crplugins.core.errors import GatewayError, not_spoken
from crplugins.core.exchange import Attempt, Exchange, Reply
from crplugins.core.sse import MAX_DOCUMENT_BYTES, MOST_EVENTS, Event, begins_stream
from crplugins.core.trace import trace_headers
from crplugins.handlers import upstream_errors
from crplugins.handlers.deadlines import Patience
from crplugins.handlers.deployment import Deployment, secrets_of
from crplugins.handlers.error_bodies import MAX_ERROR_BYTES
from crplugins.handlers.handler import document_reply, passed_reply, stream_reply
from crplugins.handlers.http.interface import Endpoint, HttpError, NoConnection, Response
from crplugins.handlers.upstream import Upstream
from crplugins.handlers.whole_answer import WholeAnswers

_MOST_JOINED: Final = 250_000
"""Events of a stream in the place of a plain answer: a token each, of the longest that any model gives."""

_NO_ROUTE: Final = frozenset({404, 405, 501})
"""How an upstream says that it has no such path."""

LINGER_SECONDS: Final = 0.25
"""How long to wait for the end of an answer that nobody reads, so that its connection can be used again."""

_LOOK_SECONDS: Final = 30.0
"""How long an upstream may take to say how a response stands that it keeps."""


class DirectCalls:
    """Sends requests to one deployment's upstream and records each as an attempt."""

    def __init__(self, deployment: Deployment, upstream: Upstream) -> None:
        self._deployment = deployment
        self._upstream = upstream

    # Found out with the first request: models are many.
    @cached_property
    def _label(self) -> str:
        return self._deployment.label

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        return secrets_of(self._deployment, self._upstream.api_key, self._upstream.base_url)

    @cached_property
    def _whole(self) -> WholeAnswers:
        return WholeAnswers(self._label, self._secrets)

    async def call(
        self, endpoint: Endpoint, exchange: Exchange, body: bytes, passed_on: Mapping[str, str], dialect: Dialect
    ) -> Reply:
        """The whole answer, or the begun stream. A stream ends its attempt itself, later.

        The first deadline is that of the first token, from which DirectStream moves it. `passed_on` are headers besides
        those of the endpoint and of the trace; `dialect` is the one in which the endpoint is asked.
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
                reply = await self._reply(response, exchange, attempt, patience, dialect)
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
        if isinstance(reply.body, bytes) and (exchange.unended is None or not exchange.unended.goes_on):
            attempt.end(exchange.clock())
        return reply

    async def look(self, endpoint: Endpoint) -> Event:
        """What is kept at the endpoint, read. No attempt at an answer. Raises `GatewayError`."""
        try:
            response = await endpoint.get(seconds=_LOOK_SECONDS)
            try:
                if not 200 <= response.status < 300:
                    raise await self._refused(response)
                head = response.take() or await response.read()
                body = head if response.ended else await self._whole.rest_of(response, head)
            finally:
                response.close(LINGER_SECONDS)
        except (HttpError, TimeoutError, ValueError) as error:
            raise upstream_errors.unreachable(self._label, error) from None
        return self._whole.document_in(body, RESPONSES)

    def failure_in(self, document: Event) -> GatewayError:
        """The failure that a kept response tells."""
        return upstream_errors.refusal_in_stream(RESPONSES.error_in(document), self._label, self._secrets)

    def _failed(self, exchange: Exchange, attempt: Attempt, error: GatewayError) -> GatewayError:
        attempt.fail(error, exchange.clock())
        return error

    async def _reply(
        self, response: Response, exchange: Exchange, attempt: Attempt, patience: Patience, dialect: Dialect
    ) -> Reply:
        """The answer in the form that the client asked for. Its own form is told by its bytes, not by its headers."""
        if not 200 <= response.status < 300:
            raise await self._refusal(response, exchange, dialect)
        if dialect.passes_bytes and not exchange.stream and is_text_or_sound(_type_of(response)):
            return self._passed(response, await self._all(response), exchange, dialect)
        head, is_stream = await self._begin(response, asked=exchange.stream)
        if not exchange.asks_model:
            exchange.stream = is_stream
            if not is_stream:  # a list, or the word that something is deleted
                head = head if response.ended else await self._whole.rest_of(response, head)
                response.close()
                return document_reply(head)
        if not is_stream:
            body = head if response.ended else await self._whole.rest_of(response, head)
            if dialect.passes_bytes and body and not is_document(body):  # whatever its type says
                return self._passed(response, body, exchange, dialect)
            document = self._document(response, body, exchange, dialect)
            if exchange.unended is not None:
                exchange.unended.note(document)
            events = dialect.stream_of(document.raw) if exchange.stream else None
            if events is not None:
                attempt.end(exchange.clock())
                return stream_reply(_frames_of(events))
            exchange.split = document.raw, [document]
            return document_reply(document.raw)
        skips = self._deployment.skip_malformed
        from crplugins.handlers.direct_stream import DirectStream  # with the first stream

        stream = DirectStream(self._label, self._secrets, response, patience, skips, exchange, attempt, dialect)
        frames = await stream.begin(head)
        if exchange.stream:
            return stream_reply(frames, stream.push_to)
        return document_reply(await self._joined(frames, exchange, dialect))

    async def _all(self, response: Response) -> bytes:
        return await self._whole.rest_of(response, response.take() or await response.read())

    def _passed(self, response: Response, body: bytes, exchange: Exchange, dialect: Dialect) -> Reply:
        """An answer that is sound or text, as it is. JSON is judged, whatever it is called."""
        response.close()
        document = dialect.document(body)
        if document.answer is None or not document.answer.choices:
            raise self._whole.no_completion(body, response.headers)
        exchange.split = body, [document]
        exchange.made = document.answer.made  # no plugin sees an answer that is no JSON
        return passed_reply(body, _type_of(response))

    async def _begin(self, response: Response, *, asked: bool) -> tuple[bytes, bool]:
        """The first bytes, and whether they begin a stream of events; what was asked for, if there is nothing."""
        head = response.take() or await response.read()
        while (is_stream := begins_stream(head)) is None:
            piece = await response.read()
            if not piece:
                return head, asked
            head += piece
        return head, is_stream

    def _document(self, response: Response, body: bytes, exchange: Exchange, dialect: Dialect) -> Event:
        """A whole answer. Raises `GatewayError` for anything else."""
        response.close()
        document = self._whole.document_in(body, dialect)
        if not body or document.answer is None or not document.answer.choices:
            exchange.note_unseen([document])  # some providers bill a failed answer too
            raise self._whole.no_completion(dialect.error_in(document), response.headers)
        return document

    async def _joined(self, frames: AsyncGenerator[bytes, None], exchange: Exchange, dialect: Dialect) -> bytes:
        """The document that a stream tells."""
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

    async def _refusal(self, response: Response, exchange: Exchange, dialect: Dialect) -> GatewayError:
        if dialect.optional and response.status in _NO_ROUTE:
            response.close()
            return not_spoken(exchange.requested_model or "", dialect.path)
        return await self._refused(response)

    async def _refused(self, response: Response) -> GatewayError:
        body = b""
        try:
            while len(body) < MAX_ERROR_BYTES and (piece := await response.read()):
                body += piece
        except HttpError:
            body = b""  # the status alone is enough
        response.close()
        return self._whole.refuse(response.status if response.status >= 400 else 502, body, response.headers)


def _type_of(response: Response) -> str:
    return response.headers.get("content-type", "")


async def _frames_of(events: Iterable[Event]) -> AsyncGenerator[bytes, None]:
    yield b"".join([event.raw for event in events])
