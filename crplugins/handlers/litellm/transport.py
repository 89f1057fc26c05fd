"""What litellm's HTTP client sends and receives, put right where it is: in the one call of aiohttp that it makes.

It is sent as the deployment's `Network` says, whatever litellm has read from the environment, so that a deployment is
reached in the same way by either handler.

aiohttp reads headers as UTF-8 and keeps what is none; litellm gives them to httpx, which takes ASCII alone and fails.
Then a refusal would lose its status and a good answer would be lost, for a word in a header that nobody reads.

A body that is compressed is unpacked here, as by the other handler: httpx knows no `x-gzip`, and leaves off behind the
first member of a gzip.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from importlib import import_module
from typing import Any

from multidict import CIMultiDict

from crplugins.core.network import Network
from crplugins.handlers.http.encoding import Decoder, encoding_in

_used: ContextVar[Network | None] = ContextVar("crplugins_network", default=None)


class Reaching:
    """While it lasts, what litellm sends in this task, and in those that it starts, is sent as `network` says."""

    __slots__ = ("_network", "_token")

    def __init__(self, network: Network) -> None:
        self._network = network

    def __enter__(self) -> None:
        self._token = _used.set(self._network)

    def __exit__(self, *_raised: object) -> None:
        _used.reset(self._token)


def is_ours() -> bool:
    """Whether what this task sends is sent by the handler."""
    return _used.get() is not None


def mend_transport() -> None:
    """To be called once in a process. A release of litellm without this call is left as it is."""
    with suppress(ImportError, AttributeError):
        transport: Any = import_module("litellm.llms.custom_httpx.aiohttp_transport").LiteLLMAiohttpTransport
        transport._make_aiohttp_request = _mended(transport._make_aiohttp_request)


def _mended(request: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(request)
    async def make_aiohttp_request(*arguments: Any, **words: Any) -> Any:
        network = _used.get()
        if network is not None:
            words |= {"proxy": network.proxy(str(words["request"].url)), "ssl_verify": network.tls}
        response = await request(*arguments, **words)
        if (encoding := encoding_in(response.headers.get("content-encoding", ""))) is not None:
            return _Unpacked(response, encoding)
        if all(name.isascii() and value.isascii() for name, value in response.headers.items()):
            return response
        return _WithAsciiHeaders(response)

    return make_aiohttp_request


class _WithAsciiHeaders:
    """A response of aiohttp whose headers have a `?` in the place of every character outside ASCII."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self.headers = CIMultiDict((_ascii(name), _ascii(value)) for name, value in response.headers.items())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


class _Unpacked(_WithAsciiHeaders):
    """One whose body is given unpacked, with headers as if it had come so."""

    def __init__(self, response: Any, encoding: str) -> None:
        super().__init__(response)
        for name in ("content-encoding", "content-length"):
            self.headers.popall(name, None)
        self.content = _UnpackedContent(response.content, encoding)


class _UnpackedContent:
    def __init__(self, content: Any, encoding: str) -> None:
        self._content = content
        self._decoder = Decoder(encoding)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """The pieces of the body, of whatever size. Raises `HttpError` for bytes that are not so encoded."""
        async for packed in self._content.iter_chunked(size):
            piece = self._decoder.decode(packed)
            while piece or self._decoder.has_more:
                yield piece
                piece = self._decoder.decode(b"")


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
