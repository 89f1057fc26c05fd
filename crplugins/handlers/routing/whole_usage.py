"""The usage that a client is told of a request with several attempts: the sum of what they have used, as the books."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from crplugins.core.exchange import Exchange, Reply
from crplugins.core.said import Said
from crplugins.core.sse import Event, Splitter
from crplugins.core.usage import TokenUsage
from crplugins.handlers.handler import document_reply


def with_whole_usage(reply: Reply, exchange: Exchange) -> Reply:
    """The reply of the last attempt, with the usage of all of them, where an earlier one has used something.

    From here on the answer is counted here, and not by the readers further out, for whom its usage is the sum.
    """
    if not isinstance(reply.body, bytes):
        return Reply(reply.status, reply.headers, _whole_usage_in(reply.body, exchange))
    document = events_of(reply.body, exchange, None)[0]
    if (answer := document.answer) is not None and (counted := answer.counted) is not None:
        said = Said()
        said.hear(answer.choices or ())
        document = tell_sum(document, counted, exchange)
        exchange.counted(counted, "provider")
        exchange.counted_to = said.mark()
    exchange.split = document.raw, [document]
    return document_reply(document.raw)


async def _whole_usage_in(frames: AsyncGenerator[bytes, None], exchange: Exchange) -> AsyncGenerator[bytes, None]:
    splitter = exchange.dialect.splitter()
    async with aclosing(frames):
        async for piece in frames:
            passed: list[Event] = []
            for event in events_of(piece, exchange, splitter):
                counted = None if event.answer is None else event.answer.counted
                if counted is None:
                    passed.append(event)
                    continue
                passed.append(tell_sum(event, counted, exchange))
                try:
                    yield joined(passed, exchange)
                finally:  # what it counts has passed now, and nothing after it
                    exchange.counted(counted, "provider")
                passed = []
            if passed:
                yield joined(passed, exchange)


def events_of(piece: bytes, exchange: Exchange, splitter: Splitter | None) -> Sequence[Event]:
    """The events in a piece of a handler's answer, which it may have split itself; the document without a splitter."""
    known = exchange.split
    if known is not None and known[0] is piece:
        return known[1]
    return [exchange.dialect.document(piece)] if splitter is None else splitter.feed(piece)


def joined(events: list[Event], exchange: Exchange) -> bytes:
    """The bytes of some events, which the next reader need not split again."""
    frames = events[0].raw if len(events) == 1 else b"".join([event.raw for event in events])
    exchange.split = frames, events
    return frames


def tell_sum(event: Event, counted: TokenUsage, exchange: Exchange) -> Event:
    """The event with the sum in the place of what it counts.

    What else its usage says of the bill is noted here and not passed on: it would be that of one attempt.
    """
    answer = event.answer
    assert answer is not None
    exchange.note_provider(answer)
    return exchange.dialect.with_usage(event, exchange.with_spent(counted))
