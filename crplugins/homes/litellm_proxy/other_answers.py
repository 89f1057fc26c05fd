"""Answers of other APIs than chat completions: what they say of themselves, in their own protocols.

Their counts were in LiteLLM's log events before anything else told them, and still are where nothing here does.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from crplugins.core.sse import Event, EventTooLarge
from crplugins.homes.litellm_proxy.answers import without_usage
from crplugins.homes.litellm_proxy.calls import ProxyCall
from crplugins.homes.litellm_proxy.runtime import Runtime


async def around_other_stream(
    runtime: Runtime, call: ProxyCall, response: AsyncIterator[Any]
) -> AsyncGenerator[Any, None]:
    """A stream. Where it tells no counts, they are in LiteLLM's log event."""
    listener = _Listener(call)
    try:
        async for chunk in response:
            listener.hear(chunk)
            if (shown := without_usage(chunk) if call.hides_usage else chunk) is not None:
                call.begun = True
                yield shown
        if call.estimated:
            runtime.unasked.succeeded(call.exchange)
        runtime.calls.heard(call)
    except (asyncio.CancelledError, GeneratorExit):
        runtime.calls.settle_left(call)
        raise


def hear_document(runtime: Runtime, call: ProxyCall, response: Any) -> None:
    """A whole answer of a protocol that generates something: embeddings are long, and say nothing else than counts."""
    exchange = call.exchange
    if exchange.dialect.generates and not call.settled:
        exchange.note_facts(exchange.dialect.document(_json(response)))
        runtime.calls.heard(call)


class _Listener:
    """Hears the chunks of a stream as its protocol has them: LiteLLM passes on some as bytes, some as objects."""

    def __init__(self, call: ProxyCall) -> None:
        self._call = call
        self._splitter = call.exchange.dialect.splitter()

    def hear(self, chunk: Any) -> None:
        if isinstance(chunk, str):
            chunk = chunk.encode()
        frames = chunk if isinstance(chunk, bytes) else b"data: " + _json(chunk) + b"\n\n"
        try:
            events = self._splitter.feed(frames)
        except EventTooLarge:
            return
        for event in events:
            self._note(event)

    def _note(self, event: Event) -> None:
        usage = None if event.answer is None else event.answer.usage
        if usage is not None:
            if self._call.estimated:
                return  # LiteLLM's own count
            usage.cost = None  # LiteLLM's own bill
        self._call.exchange.note_facts(event)


def _json(answer: Any) -> bytes:
    if hasattr(answer, "model_dump_json"):
        return str(answer.model_dump_json(exclude_none=True)).encode()
    return msgspec.json.encode(answer, enc_hook=str)
