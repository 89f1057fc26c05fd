"""The usage that a client is told of a request with several attempts: the sum of what they have used, as the books."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.reported_usage import read_usage
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
                finally:  # what it counts has passed now, and nothing behind it
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
    if exchange.dialect is not CHAT:
        return event
    body = Body.of_answer(event.data or b"")
    usage = usage_object(exchange.with_spent(counted))
    body.set("usage", usage)
    groq = body.get("x_groq")
    if isinstance(groq, dict) and "usage" in groq:
        body.set("x_groq", {name: value for name, value in groq.items() if name != "usage"})
    choices = body.get("choices", list) or []
    if any(isinstance(choice, dict) and "usage" in choice for choice in choices):  # Kimi's
        body.set("choices", [{name: value for name, value in each.items() if name != "usage"} for each in choices])
    heard = answer.choices and [msgspec.structs.replace(choice, usage=None) for choice in answer.choices]
    facts = msgspec.structs.replace(answer, choices=heard, usage=read_usage(usage), x_groq=None)
    return event.with_data(body.raw, facts)


def usage_object(usage: TokenUsage) -> dict[str, Any]:
    """OpenAI's `usage` of these counts. What it has no name for is under the names that `read_usage` takes for it."""
    prompt_details: dict[str, Any] = {"cached_tokens": usage.cached_input_tokens}
    completion_details = {"reasoning_tokens": usage.reasoning_output_tokens}
    for details, name, tokens in (
        (prompt_details, "audio_tokens", usage.audio_input_tokens),
        (prompt_details, "image_tokens", usage.image_input_tokens),
        (prompt_details, "cache_write_tokens", usage.cache_write_input_tokens),
        (completion_details, "audio_tokens", usage.audio_output_tokens),
        (completion_details, "image_tokens", usage.image_output_tokens),
        (completion_details, "video_tokens", usage.video_output_tokens),
    ):
        if tokens:
            details[name] = tokens
    if usage.cached_audio_input_tokens:
        prompt_details["cached_tokens_details"] = {"audio_tokens": usage.cached_audio_input_tokens}
    told: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": completion_details,
    }
    if usage.long_cache_write_input_tokens:
        told["cache_creation"] = {"ephemeral_1h_input_tokens": usage.long_cache_write_input_tokens}
    if usage.web_searches:
        told["server_tool_use"] = {"web_search_requests": usage.web_searches}
    return told
