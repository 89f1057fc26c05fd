"""Answers before litellm reads them: bounded, plain ones in the form that was asked for, and kept in case it cannot.

litellm makes a status 500, 422 or 400 of an answer that is no completion, by provider. So an answer with a 2xx that
litellm cannot read is judged by its own bytes, whatever litellm says of it. And litellm reads a body of any length.

All of litellm's HTTP goes through two classes of transports, whose `handle_async_request` is replaced once per process.
It looks only at what the handler sends (`transport.Reaching`), and at no other request of this process; within
`catching` it sends nothing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, wraps
from importlib import import_module
from typing import Any, Final

from crplugins.core.chunk_reader import document_of
from crplugins.core.completeness import Completeness
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.lenient_json import decode_with_halves, encoded, object_of, objects_of
from crplugins.core.request_json import MOST_CHOICES
from crplugins.core.sse import MAX_DOCUMENT_BYTES, Event, EventTooLarge, Splitter, begins_stream
from crplugins.handlers.http.interface import Response
from crplugins.handlers.litellm.bounded import bounded_lines, decoded, is_encoded, refusal_in, with_short_names
from crplugins.handlers.litellm.errors import Failures
from crplugins.handlers.litellm.transport import is_ours
from crplugins.handlers.litellm.words import content_of

_TRANSPORTS: Final = (
    ("litellm.llms.custom_httpx.aiohttp_transport", "LiteLLMAiohttpTransport"),
    ("httpx", "AsyncHTTPTransport"),  # where a setting of litellm's turns aiohttp off
)
_OPENAIS_PATH: Final = "/chat/completions"
_OF_THE_CODING: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})

_read: ContextVar["PlainAnswer | None"] = ContextVar("crplugins_plain_answer", default=None)
_caught: ContextVar[list[Any] | None] = ContextVar("crplugins_caught_requests", default=None)


@contextmanager
def catching() -> Iterator[list[Any]]:
    """While it lasts, what litellm sends in this task goes into the list, and is refused with 400."""
    requests: list[Any] = []
    token = _caught.set(requests)
    try:
        yield requests
    finally:
        _caught.reset(token)


class PlainAnswer:
    """One plain answer. litellm may send several requests for it (a token, then the question): the last one counts.

    Attributes:
        unseen: what of an answer that has failed could be read.
    """

    def __init__(self, failures: Failures, exchange: Exchange, skip_malformed: int) -> None:
        self._failures = failures
        self._exchange = exchange
        self._skip_malformed = skip_malformed
        self._body: bytes | None = None
        self._completion: bytes | None = None
        self._headers: Mapping[str, str] = {}
        self._failure: GatewayError | None = None
        self.unseen: list[Event] = []

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While it lasts, what litellm's transports receive in this task is this answer."""
        token = _read.set(self)
        try:
            yield
        finally:
            _read.reset(token)

    def failure_of(self, error: Exception) -> GatewayError:
        """What `error`, raised by litellm, is for the client."""
        if self._failure is not None:
            return self._failure
        if isinstance(error, TimeoutError) or (failure := self.failure()) is None:
            return self._failures.of(error)
        self._failures.note("litellm cannot read this answer: %s", type(error).__name__)
        return failure

    @property
    def said(self) -> bytes | None:
        """The provider's own answer; None where none came through litellm's transports."""
        return self._body

    def completion(self) -> Any:
        """The answer in OpenAI's form, where it has one that litellm cannot read: parts in the place of a text, halves
        of tokens. None without one."""
        return None if self._completion is None else decode_with_halves(self._completion)

    def failure(self) -> GatewayError | None:
        """What an answer is in which litellm has found no completion; None without an answer."""
        return None if self._body is None else self._failures.whole.no_completion(self._body, self._headers)

    async def received(self, response: Any) -> bytes:
        """The decoded body of a response, as litellm is to read it. Raises `GatewayError`."""
        try:
            body = await self._body_of(response)
            return self.taken(response.status_code, response.headers, response.request.url.path, body)
        except GatewayError as failure:
            self._failure = failure
            raise

    def begin(self) -> None:
        """A request is sent: what an earlier one was answered is not the answer."""
        self._body = self._completion = self._failure = None
        self.unseen = []

    def taken(self, status: int, headers: Mapping[str, str], path: str, body: bytes) -> bytes:
        """The decoded body of an answer from `path`, as litellm is to read it. Raises `GatewayError`."""
        if not 200 <= status < 300:
            return body
        self._headers = headers
        if path.endswith(_OPENAIS_PATH):
            body = self._document(body) if begins_stream(body) else body
            document = self._failures.whole.document_in(body)
            choices = 0 if document.answer is None else len(document.answer.choices or ())
            # Nobody can ask for more, and litellm takes half a millisecond for each, on the event loop.
            if not 0 < choices <= max(self._exchange.choices, MOST_CHOICES):
                self.unseen = [document]
                raise self._failures.whole.no_completion(document.raw, self._headers)
            self._completion = body = _with_texts(document)
        self._body = body
        return with_short_names(body)

    async def _body_of(self, response: Any) -> bytes:
        pieces, size = [], 0
        try:
            async for piece in decoded(response):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_DOCUMENT_BYTES:
                    raise self._failures.whole.too_long()
        finally:
            await response.stream.aclose()
        return b"".join(pieces)

    async def body_of(self, response: Response) -> bytes:
        """The decoded body of a response of our own client, whole. Raises `GatewayError` for a longer one than is
        read."""
        head = response.take() or await response.read()
        return head if response.ended else await self._failures.whole.rest_of(response, head)

    def _document(self, stream: bytes) -> bytes:
        """The document that a whole stream tells. Raises `GatewayError` for a stream that failed or was cut."""
        state, events = Completeness(self._exchange.choices), list[Event]()
        self.unseen = events
        for event in _events(stream):
            if event.answer is not None and event.answer.error is not None:
                raise self._failures.in_stream(event.answer.error)
            if event.is_malformed and not state.is_behind(event):
                self._see_malformed(state)
                continue
            events.append(event)
            state.see(event)
        if not state.complete:
            raise self._failures.cut_short("neither a finish reason for each choice nor an end mark came")
        return document_of(events)

    def _see_malformed(self, state: Completeness) -> None:
        attempt = self._exchange.attempts[-1]
        if state.calls or not self._failures.leaves_out(attempt, self._skip_malformed):
            raise self._failures.malformed("an event is no chunk")
        state.lost = True


def _with_texts(document: Event) -> bytes:
    """The document with a text in the place of the parts of one: of those litellm refuses most, and loses some."""
    choices = () if document.answer is None else document.answer.choices or ()
    if not any(choice.message is not None and isinstance(choice.message.content, list) for choice in choices):
        return document.raw
    told = decode_with_halves(document.raw)
    for choice in objects_of(told.get("choices")):
        message = object_of(choice.get("message"))
        text, thoughts = content_of(message)
        message["content"] = text or None
        if thoughts:
            message["reasoning_content"] = thoughts
    return encoded(told)


def _events(stream: bytes) -> list[Event]:
    splitter = Splitter()
    try:
        events = splitter.feed(stream)
    except EventTooLarge:
        return []
    rest = splitter.finish()
    if rest is not None and not rest.is_malformed:  # else it is half an event
        events.append(rest)
    return [event for event in events if event.is_malformed or not event.is_heartbeat]


def watch_transports() -> None:
    """Lets `PlainAnswer` see what litellm receives. To be called once in a process.

    A release of litellm without its class is watched where httpx's own is used.
    """
    for module, name in _TRANSPORTS:
        with suppress(ImportError, AttributeError):
            transport: Any = getattr(import_module(module), name)
            transport.handle_async_request = _watched(transport.handle_async_request)


def _watched(handle: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    @wraps(handle)
    async def handle_async_request(transport: Any, request: Any) -> Any:
        if (caught := _caught.get()) is not None:
            caught.append(request)
            return _refused(request)
        answer = _read.get()
        if not is_ours() or request.method != "POST":  # such as a picture that a provider is sent in the request
            return await handle(transport, request)
        if answer is not None:
            answer.begin()
        response = await handle(transport, request)
        response.request = request
        if 300 <= response.status_code < 400:
            await response.stream.aclose()
            return _not_followed(request)
        if response.status_code >= 400:
            return _response(response, _pieces(await refusal_in(response)))
        if answer is None:
            return _response(response, bounded_lines(decoded(response)))
        return _response(response, _pieces(await answer.received(response)))

    return handle_async_request


def _refused(request: Any) -> Any:
    import httpx

    return httpx.Response(400, json={"error": {"message": "caught"}}, request=request)


def _not_followed(request: Any) -> Any:
    """In the place of a redirection. litellm's clients would send the prompt there, and the operator's key in each
    header but `authorization`."""
    import httpx

    message = "A redirection is not followed: api_base has to be the address that it leads to."
    return httpx.Response(502, json={"error": {"message": message}}, request=request)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _response(response: Any, pieces: AsyncIterator[bytes]) -> Any:
    """The same response with a body that is decoded already."""
    import httpx

    body = _body_class()(pieces, response.stream)
    if not is_encoded(response):
        response.stream = body
        return response
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _OF_THE_CODING]
    return httpx.Response(
        response.status_code, headers=headers, stream=body, request=response.request, extensions=response.extensions
    )


@cache
def _body_class() -> Any:
    """Made once: only a full collection takes a class away, with all that its methods know."""
    import httpx

    class Body(httpx.AsyncByteStream):
        def __init__(self, pieces: AsyncIterator[bytes], received: Any) -> None:
            self._pieces, self._received = pieces, received

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._pieces

        async def aclose(self) -> None:
            await self._received.aclose()

    return Body
