"""Reply: an answer that a plugin or a handler gives, and Refusal: one of an app that plugins may try again."""

from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec

from crplugins.core.errors import Header

MODEL_HEADER: Final = b"x-crplugins-model"
"""In an answer: the model name that serves it, which may be a fallback of the one that was asked for."""

Push = Callable[[bytes], bool]
"""Sends a piece of a stream at once, from outside of a task. False: it is taken, and no other may be pushed before a
`send` has been awaited, because the client is slow or something has gone wrong, which that `send` raises."""


class Reply(msgspec.Struct):
    """An answer ready to be sent: headers without `content-length` for a stream.

    `body` is the whole body, or a generator of complete server-sent events, which is closed when the client leaves.
    `push_to` has a stream push what it would yield, where that needs no waiting, and yield the rest; who looks at the
    pieces of another's stream makes a reply without it.
    """

    status: int
    headers: list[Header]
    body: bytes | AsyncGenerator[bytes, None]
    push_to: Callable[[Push], None] | None = None


class Refusal(msgspec.Struct, frozen=True):
    """A 4xx or 5xx of the app with a JSON body."""

    status: int
    body: bytes


class Drain(msgspec.Struct, frozen=True):
    """How far an answer is read after its client has disconnected: at most so many seconds and output tokens more."""

    seconds: float
    tokens: int
