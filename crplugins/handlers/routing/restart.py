"""Restart: the beginning of a stream is held back, and a break within it is never seen."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.sse import MOST_EVENTS, Event
from crplugins.handlers.routing.attempts import Attempts
from crplugins.handlers.routing.on_break import OnBreak
from crplugins.handlers.routing.takeover import next_stream, takes_over
from crplugins.handlers.routing.whole_usage import events_of, joined

MOST_HELD_BYTES: Final = 1024 * 1024
"""A beginning as long as this is shown, however few tokens it has."""


class RestartedStream:
    """The stream of a request, begun anew by the next deployment as long as nothing of it has been shown."""

    def __init__(self, attempts: Attempts, exchange: Exchange, body: Body) -> None:
        self._attempts = attempts
        self._exchange = exchange
        self._body = body

    async def frames(self, frames: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The stream, after an empty piece."""
        exchange, is_first = self._exchange, True
        while True:
            beginning, is_held = self._beginning(), True
            try:
                async with aclosing(frames):
                    if is_first:
                        is_first = False
                        yield b""
                    while not beginning.is_enough and (piece := await anext(frames, None)) is not None:
                        if comments := beginning.take(piece):
                            yield comments
                    is_held = False
                    exchange.shown_from_start()
                    for shown in beginning.pieces():
                        yield shown
                    async for piece in frames:
                        yield piece
                    return
            except GatewayError as error:
                if not (is_held and takes_over(self._attempts, exchange, error, "restart")):
                    raise
            exchange.shown_from_start()
            exchange.split = None  # nobody has seen it: an error that follows is numbered after what was shown
            frames = await next_stream(self._attempts, self._body)

    def _beginning(self) -> "Beginning":
        """What is to be held back: nothing if no other deployment could be asked."""
        assert self._attempts.current is not None
        settings = self._attempts.current.deployment.on_break
        is_held = settings.action == "restart" and self._attempts.left
        return Beginning(self._exchange, settings, is_enough=not is_held)


class Beginning:
    """The beginning of a stream, which is not shown yet, but for comments.

    Attributes:
        is_enough: a token has come after the time of holding back, or with as many tokens held as may be.
    """

    def __init__(self, exchange: Exchange, settings: OnBreak, *, is_enough: bool = False) -> None:
        self.is_enough = is_enough
        self._exchange = exchange
        self._tokens = settings.hold_tokens
        self._until = exchange.clock() + settings.hold_seconds
        self._splitter = exchange.dialect.splitter()
        self._events: list[Event] = []
        self._size = 0

    def take(self, piece: bytes) -> bytes:
        """Hold back a piece of the stream. Returns the comments in it."""
        exchange, comments = self._exchange, b""
        said = exchange.said.mark()
        for event in events_of(piece, exchange, self._splitter):
            if event.data is None:
                comments += event.raw
            else:
                exchange.note_ahead(event)
                self._events.append(event)
        self._size += len(piece)
        if exchange.said.mark() != said:
            self.is_enough = exchange.clock() >= self._until or exchange.said.tokens() >= self._tokens
        self.is_enough = self.is_enough or self._size > MOST_HELD_BYTES
        return comments

    def pieces(self) -> Iterator[bytes]:
        """What was held back, not too much at once."""
        for start in range(0, len(self._events), MOST_EVENTS):
            yield joined(self._events[start : start + MOST_EVENTS], self._exchange)
