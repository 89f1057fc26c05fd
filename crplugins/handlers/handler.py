"""Handler: the interface of what answers a chat completion, and the two kinds of reply it makes."""

import re
from collections.abc import AsyncGenerator, Callable, Collection
from types import TracebackType
from typing import Final, Protocol, Self, TypeGuard

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, Dialect
from crplugins.core.errors import not_spoken
from crplugins.core.exchange import Exchange, Push, Reply
from crplugins.core.response_ids import ResponsesPlace


class Handler(Protocol):
    """Answers for one deployment. An async context manager, entered at start-up: it owns connections."""

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        """The whole answer, or the begun stream (`Reply.body` is an async generator of complete events).

        Returns only when the upstream has accepted the request, so that its refusal can be sent as a status. Sets
        `exchange.attempts`, `exchange.served_model` and `exchange.price`. Cancelling the call, or closing the
        generator, ends the upstream request at once.

        Raises `GatewayError` for every failure that the client may see; the generator raises it for a failure after the
        first byte.
        """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Keeper(Protocol):
    """A handler whose provider keeps answers."""

    @property
    def place(self) -> ResponsesPlace: ...

    async def forward(self, exchange: Exchange, below: str) -> Reply:
        """The provider's answer to a request about one. `below` is the path after its base URL."""


def keeps(handler: Handler) -> TypeGuard[Keeper]:
    """Whether it is a `Keeper`. `isinstance` would ask a handler for its `place`, which has to be computed."""
    return hasattr(handler, "forward")


class Unopened:
    """A handler that owns nothing: what it asks is opened and closed by the code that made it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)


def check_dialect(exchange: Exchange, body: Body, dialects: Collection[Dialect] = (CHAT,)) -> None:
    """Raise `GatewayError` 404 for a request in another dialect than a handler speaks."""
    dialect = exchange.upstream_dialect
    if dialect not in dialects:
        raise not_spoken(exchange.requested_model or body.get("model", str) or "", dialect.path)


def document_reply(body: bytes) -> Reply:
    """A whole answer, already JSON."""
    length = str(len(body)).encode()
    return Reply(200, [(b"content-type", b"application/json"), (b"content-length", length)], body)


def passed_reply(body: bytes, content_type: str) -> Reply:
    """A whole answer that is no JSON, under the type that its provider gave it, if that is a sensible one."""
    known = content_type if _CONTENT_TYPE.fullmatch(content_type) else "application/octet-stream"
    length = str(len(body)).encode()
    return Reply(200, [(b"content-type", known.encode()), (b"content-length", length)], body)


_CONTENT_TYPE: Final = re.compile(r"[a-z]{1,20}/[A-Za-z0-9.+-]{1,60}(?:; ?[a-z]{1,20}=[A-Za-z0-9._-]{1,40}){0,3}")


def stream_reply(frames: AsyncGenerator[bytes, None], push_to: Callable[[Push], None] | None = None) -> Reply:
    """A begun stream of complete server-sent events."""
    return Reply(200, list(_STREAM_HEADERS), frames, push_to)
