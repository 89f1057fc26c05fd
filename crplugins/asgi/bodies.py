"""ResponseBody: what happens to the messages of one response body. Its kinds are in `event_streams` and `documents`."""

from collections.abc import Iterable
from typing import Protocol

from starlette.types import Message

from crplugins.core.exchange import Exchange


class ResponseBody(Protocol):
    """What happens to each `http.response.body` of one response: `before` where a plugin may change it, else `after`.

    Both raise GatewayError when a plugin that decides has failed.

    Attributes:
        rewrites: a plugin may change what is sent.
        held: the `http.response.start` that `before` will send, of an answer whose head depends on its body; else None.
        ended: the end mark of a stream has passed: a client that leaves now has the whole answer.
    """

    held: Message | None

    @property
    def rewrites(self) -> bool: ...

    @property
    def ended(self) -> bool: ...

    def before(self, message: Message) -> Iterable[Message]:
        """The messages to send in its place."""

    def after(self, message: Message) -> None:
        """Called once the message is sent, or could not be."""

    def cut(self) -> bytes:
        """What ends an event the client has only in part, so that another can follow it."""


class Passthrough:
    """A body nobody reads."""

    held: Message | None = None
    rewrites = ended = False

    def before(self, message: Message) -> Iterable[Message]:
        return (message,)

    def after(self, message: Message) -> None:
        pass

    def cut(self) -> bytes:
        return b""


def is_success(exchange: Exchange) -> bool:
    """Whether the answer that has begun is a success for a request that asks a model."""
    if exchange.status is None or not 200 <= exchange.status < 300:
        return False
    return exchange.asks_model
