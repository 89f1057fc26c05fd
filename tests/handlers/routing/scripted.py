"""Deployments that answer as a test says, without a network, and a reader of their group's answer."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, broken_off
from crplugins.core.exchange import Exchange, Reply, Timings
from crplugins.core.outcome import answered_with
from crplugins.core.sse import Splitter
from crplugins.core.usage import Price
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import stream_reply
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.group import Group
from crplugins.handlers.routing.on_break import OnBreak
from crplugins.testing import FrozenClock

ASK = b'{"model": "m", "messages": [{"role": "user", "content": "Say something."}], "stream": true}'


class Says:
    """Answers with these pieces of whole events; then it ends, or breaks. Or it refuses with a status."""

    def __init__(self, *pieces: bytes, breaks: bool = False, refuses: int | None = None) -> None:
        self.pieces = pieces
        self.breaks = breaks
        self.refuses = refuses
        self.asked: list[Body] = []

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        self.asked.append(body)
        exchange.price = Price(1_000_000, 2_000_000)
        attempt = exchange.begin_attempt("openai", self)
        if self.refuses is not None:
            error = GatewayError(self.refuses, "No beginning, please.", error_type=answered_with(self.refuses))
            attempt.fail(error, exchange.clock())
            raise error
        return stream_reply(self._frames(exchange, attempt))

    async def _frames(self, exchange: Exchange, attempt: Any) -> AsyncGenerator[bytes, None]:
        for piece in self.pieces:
            yield piece
        if self.breaks:
            error = broken_off()
            attempt.fail(error, exchange.clock())
            raise error
        attempt.ended = exchange.clock()


class Answered:
    """What a client received, and the request as the books see it."""

    def __init__(self, body: bytes, error: GatewayError | None, exchange: Exchange) -> None:
        self.body = body
        self.error = error
        self.exchange = exchange


async def ask(on_break: OnBreak, *handlers: Says, ask: bytes = ASK, models: Sequence[str] = ()) -> Answered:
    """The answer of a group of these deployments, of which the first is asked first."""
    clock = FrozenClock()
    timings = Timings(started=clock(), app=clock())
    exchange = Exchange("id", "POST", "/v1/chat/completions", [], None, clock, timings, stream=True)
    body = exchange.body = Body.of_request(ask)
    names = models or ["openai/m"] * len(handlers)
    deployments = [Deployment("m", name, provider=name.partition("/")[0], on_break=on_break) for name in names]
    group = Group([Candidate(each, handler) for each, handler in zip(deployments, handlers, strict=True)])
    received, error, splitter = b"", None, Splitter()
    reply = await group.answer(exchange, body)
    exchange.responded(200)
    assert not isinstance(reply.body, bytes)
    try:
        async for piece in reply.body:
            received += piece
            known = exchange.split
            events = known[1] if known is not None and known[0] is piece else splitter.feed(piece)
            for event in events:
                exchange.note_facts(event)
    except GatewayError as raised:
        error = raised.with_traceback(None)
        exchange.failed(raised, in_stream=True)
    exchange.concluded(200, left=False, complete=True)
    return Answered(received, error, exchange)
