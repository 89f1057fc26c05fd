"""ConfiguredCalls: requests of a `ConfiguredModel` over our HTTP client, and ConfiguredStream: the items of an answer.

What comes out is what comes out of `acompletion` (a `ModelResponse`, the items of a stream, an exception of litellm's),
so that its reader need not know which path was taken.
"""

from collections.abc import AsyncIterator
from typing import Any, Final, Self
from urllib.parse import urlsplit

from crplugins.core.answer_forms import named_error
from crplugins.core.bounded_map import BoundedMap
from crplugins.core.lenient_json import decode_with_halves, encoded
from crplugins.core.sse import Event, Splitter
from crplugins.handlers.deadlines import CONNECT_TIMEOUT, Overdue
from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.http.interface import NEVER, ConnectTimeout, Endpoint, Response
from crplugins.handlers.litellm.bounded import bounded_lines, short_refusal
from crplugins.handlers.litellm.configs import ConfiguredModel, ProviderRequest
from crplugins.handlers.litellm.lines import LONGEST_HEARTBEAT, clean_bytes, says_nothing
from crplugins.handlers.litellm.plain import PlainAnswer
from crplugins.handlers.litellm.stream import is_readable
from crplugins.handlers.litellm.tap import Tap
from crplugins.handlers.litellm.unchanged import text_chunk

_OURS: Final = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "crplugins"}
_ENDPOINTS: Final = 64
_LINGER_SECONDS: Final = 0.25
"""How long to wait for the end of the body after [DONE]."""


class ConfiguredCalls:
    """Sends the requests of one deployment.

    `seconds` are the time for a plain answer, or for the head of a stream; after that the deadlines of a stream are
    the handler's, who cancels. Raises `HttpError`, `Overdue`, `ConnectTimeout`, `GatewayError` and what litellm raises.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._endpoints: Final[BoundedMap[tuple[str, ...], Endpoint]] = BoundedMap(_ENDPOINTS)

    async def plain(
        self,
        model: ConfiguredModel,
        request: ProviderRequest,
        messages: list[Any],
        answer: PlainAnswer,
        seconds: float,
    ) -> Any:
        """A `ModelResponse`, or the bytes that a client is told of an answer that litellm would leave as it is."""
        answer.begin()
        try:
            response = await self._post(model, request, seconds)
            try:
                body = await answer.body_of(response)
            finally:
                response.close()
        except TimeoutError as error:
            raise _overdue(error, seconds) from None
        if (told := model.unchanged_answer(request, body)) is not None:  # which is an answer, and needs no judge
            return told
        received, path = body, urlsplit(request.url).path
        body = answer.taken(response.status, response.headers, path, received)
        if body is not received and (told := model.unchanged_answer(request, body)) is not None:
            return told
        import httpx

        headers = {"content-type": response.headers.get("content-type", "application/json")}
        return model.answer(request, messages, httpx.Response(response.status, headers=headers, content=body))

    async def stream(self, model: ConfiguredModel, request: ProviderRequest, seconds: float) -> "ConfiguredStream":
        try:
            response = await self._post(model, request, seconds)
        except TimeoutError as error:
            raise _overdue(error, seconds) from None
        response.expire_in(NEVER)
        try:
            return ConfiguredStream(model, request, response)
        except BaseException:
            response.close()
            raise

    async def _post(self, model: ConfiguredModel, request: ProviderRequest, seconds: float) -> Response:
        """An answer with a 2xx. Raises litellm's exception for any other."""
        headers = request.headers
        key = (request.url, *headers, *headers.values())
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            endpoint = self._endpoints[key] = self._client.endpoint(request.url, {**_OURS, **headers})
        body = encoded(request.data)
        response = await endpoint.post(body, request.own, connect_seconds=CONNECT_TIMEOUT, seconds=seconds)
        if 200 <= response.status < 300:
            return response
        try:
            raise await _refusal(model, request, response)
        finally:
            response.close()


def _overdue(error: TimeoutError, seconds: float) -> TimeoutError:
    """The deadline that has passed. That of connecting may be the same as that of the request."""
    return error if isinstance(error, ConnectTimeout) and seconds > CONNECT_TIMEOUT else Overdue()


async def _refusal(model: ConfiguredModel, request: ProviderRequest, response: Response) -> Exception:
    """litellm's exception for such an answer."""
    import httpx

    body = await short_refusal(_pieces(response))
    sent = httpx.Request("POST", request.url)
    status = response.status if response.status >= 400 else 502  # a redirection, which is not followed
    return model.refusal(httpx.Response(status, headers=_readable(response), content=body, request=sent))


def _readable(response: Response) -> dict[str, str]:
    """The headers that httpx takes, without those of the coding that the body no longer has."""
    return {
        name: value.encode("ascii", "replace").decode()
        for name, value in response.headers.items()
        if name not in ("content-encoding", "content-length", "transfer-encoding")
    }


class ConfiguredStream:
    """The items of a stream: the provider's own JSON where that is OpenAI's, else what litellm's reader makes of it.

    Attributes:
        tap: what was seen of the stream besides.
    """

    def __init__(self, model: ConfiguredModel, request: ProviderRequest, response: Response) -> None:
        self.tap = Tap()
        self._response = response
        reader = model.reader(request, self._lines())
        if reader is None:
            self._items: AsyncIterator[Any] = self._chunks()
        else:
            self.tap.attach(reader)
            self._items = aiter(reader)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._items)

    async def aclose(self) -> None:
        """Ends the upstream request now, or keeps its connection if the answer has been read to its end."""
        self._response.close(_LINGER_SECONDS if self.tap.done else 0.0)

    async def _chunks(self) -> AsyncIterator[Any]:
        begun = False
        async for event in self._events():
            data = event.data or b""
            if begun and event.text is not None and (text := text_chunk(data)) is not None:
                yield text
                continue
            if event.is_heartbeat or (len(data) <= LONGEST_HEARTBEAT and says_nothing(data.decode("utf-8", "replace"))):
                continue
            if event.is_done:
                self.tap.done = True
                return
            chunk = decode_with_halves(data)
            self.tap.see(chunk)
            if not begun and not is_readable(chunk):
                self.tap.on_malformed()
                continue
            begun = True
            yield chunk

    async def _lines(self) -> AsyncIterator[str]:
        async for event in self._events():
            yield "data: " + (event.data or b"").decode("utf-8", "replace")

    async def _events(self) -> AsyncIterator[Event]:
        splitter = Splitter()
        async for piece in clean_bytes(bounded_lines(_pieces(self._response))):
            for event in splitter.feed(piece):
                if event.text is None and event.is_malformed:
                    self.tap.on_malformed()
                elif event.data is not None:
                    yield event if event.text is not None else named_error(event)


async def _pieces(response: Response) -> AsyncIterator[bytes]:
    while piece := await response.read():
        yield piece
