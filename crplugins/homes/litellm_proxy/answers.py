"""A stream of the proxy on its way to the client, and its one settlement."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crplugins.core.call_numbers import RepairedCalls, index_of
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.sse import Event
from crplugins.handlers.litellm.usage import model_of, plain
from crplugins.homes.litellm_objects import (
    delta_of,
    field_of,
    is_from_cache,
    note_bill,
    note_bills,
    note_cache,
    note_said,
    note_unfinished,
    note_usage,
    reported_in_chunks,
)
from crplugins.homes.litellm_proxy.calls import ProxyCall
from crplugins.homes.litellm_proxy.failures import failure_of
from crplugins.homes.litellm_proxy.runtime import ANSWERED_BY, Runtime


@dataclass(frozen=True, slots=True)
class StreamChunks:
    """The chunks of a stream as the provider's parsers left them, and which attempt's they are.

    LiteLLM keeps them to put the answer together. Where none has usage it counts tokens itself, and does not mark them.
    """

    chunks: Sequence[Any]
    attempts: int


STREAM_CHUNKS: Final[Slot[StreamChunks]] = Slot("litellm_chunks")


_UNREAD: Final = Event.json_document(b"{}")


async def around_stream(runtime: Runtime, call: ProxyCall, response: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """The chunks as the plugins leave them. However it ends, the call is settled then."""
    kind: type[Any] | None = None
    chunks = RepairedChunks()
    try:
        async for chunk in response:
            if not hasattr(chunk, "choices"):  # an error of LiteLLM's, written out
                yield chunk
                continue
            kind = type(chunk)
            chunks.repair(chunk)
            if (shown := _shown(runtime, call, chunk)) is not None:
                call.begun = True
                yield shown
        for chunk in added_chunks(call, kind) if kind is not None else ():
            yield chunk
    except (asyncio.CancelledError, GeneratorExit):
        _note_told(call.exchange)
        runtime.calls.settle(call, 200 if call.begun else 499, left=True)
        raise
    except Exception as error:
        if not (call.begun or isinstance(error, GatewayError)):
            raise  # LiteLLM has another hook for it, and other answers than a stream
        for last in await _broken(runtime, call, kind, error):
            yield last
        return
    if kind is not None:
        _note_kept(call.exchange)
        _note_success(runtime, call)
        await runtime.calls.end(call, 200)


def _shown(runtime: Runtime, call: ProxyCall, chunk: Any) -> Any | None:
    usage = field_of(chunk, "usage")
    note_chunk(call, chunk, usage)
    if usage is not None:
        tidy_usage_chunk(chunk)
    shown = shown_chunk(call, chunk) if runtime.reads_chunks else chunk
    return shown if usage is None or shown is None or not call.hides_usage else without_usage(shown)


async def _broken(runtime: Runtime, call: ProxyCall, like: type[Any] | None, error: Exception) -> list[Any]:
    """The end of a stream that a plugin's error, or any failure after it, has broken."""
    added = cut_chunks(call, like)
    if isinstance(error, GatewayError):
        failure, status = error, 200 if call.begun else error.status
    else:
        _note_told(call.exchange)
        failure, status = failure_of(call.exchange, error, begun=True), 200
    await runtime.calls.end(call, status, failure)
    return [*added, error_frame(failure)]


def _note_success(runtime: Runtime, call: ProxyCall) -> None:
    if call.estimated:
        runtime.unasked.succeeded(call.exchange)


async def tidied(response: AsyncIterator[Any], around: Exchange) -> AsyncGenerator[Any, None]:
    """A stream whose plugins run around the whole proxy."""
    begun = False
    chunks = RepairedChunks()
    try:
        async for chunk in response:
            has_choices = hasattr(chunk, "choices")
            if has_choices:
                begun = True
                chunks.repair(chunk)
            if not has_choices or field_of(chunk, "usage") is None:
                yield chunk
                continue
            made_up = is_made_up(around, chunk)
            tidy_usage_chunk(chunk)
            yield chunk
            if made_up:  # the boundary has it now, and takes it for the provider's
                around.counted(None, "none")
        _note_kept(around)
    except (asyncio.CancelledError, GeneratorExit):
        _note_told(around)
        raise
    except Exception as error:
        if not begun:
            raise
        _note_told(around)
        failure = failure_of(around, error, begun=True)
        around.failed(failure)
        yield error_frame(failure)


async def numbered(response: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """A stream that none of our plugins sees."""
    chunks = RepairedChunks()
    async for chunk in response:
        if hasattr(chunk, "choices"):
            chunks.repair(chunk)
        yield chunk


def shown_chunk(call: ProxyCall, chunk: Any) -> Any | None:
    """The chunk as the plugins leave it; None if one of them dropped it."""
    event = Event.of(_json(chunk))
    passed = call.run.event(event)
    if passed is event or passed is None or passed.data is None:
        return chunk if passed is event else None
    return type(chunk).model_validate_json(passed.data)


def added_chunks(call: ProxyCall, like: type[Any]) -> list[Any]:
    """What plugins add at the end of a stream."""
    return _chunks(call.run.end(), like)


def cut_chunks(call: ProxyCall, like: type[Any] | None) -> list[Any]:
    """What plugins add to a stream that has broken; to one of which nothing was shown, nothing."""
    return _chunks(call.run.cut(), like) if call.begun and like is not None else []


def _chunks(events: Iterable[Event], like: type[Any]) -> list[Any]:
    return [like.model_validate_json(event.data) for event in events if event.data is not None]


def shown_document(call: ProxyCall, response: Any) -> Any:
    """The answer as the plugins leave it; the same object if they leave it alone."""
    event = Event.json_document(_json(response))
    call.exchange.note_facts(event)
    passed = call.run.event(event)
    if passed is event or passed is None or passed.data is None:
        return response
    return type(response).model_validate_json(passed.data)


def pass_document(call: ProxyCall, response: Any) -> None:
    """Tell the plugins of an answer that none of them reads: that it is there. One may refuse it for its usage."""
    note_said(call.exchange, response.choices, "message")
    call.run.event(_UNREAD)


def note_chunk(call: ProxyCall, chunk: Any, usage: Any) -> None:
    """Keep what a chunk says of itself. `usage` is what stands on it."""
    note_said(call.exchange, chunk.choices)
    if usage is None:
        note_bill(call.exchange, chunk, None)
    elif not (is_made_up(call.exchange, chunk) or call.estimated):
        note_usage(call.exchange, chunk.usage, chunk)


class RepairedChunks:
    """What LiteLLM passes on of a stream as no client reads it.

    A provider's numbers of choices and tool calls are as they came. And it tells one end for all choices, as that of
    the first: the others would stay open.
    """

    __slots__ = ("_calls", "_open")

    def __init__(self) -> None:
        self._calls = RepairedCalls()
        self._open: set[int] = set()

    def repair(self, chunk: Any) -> None:
        for choice in chunk.choices:
            index = field_of(choice, "index")
            if index.__class__ is not int:
                choice.index = index = index_of({"index": index}, 0)
            self._open.add(index)
            delta = field_of(choice, "delta")
            told = field_of(delta, "tool_calls")
            if told:
                repaired = self._calls.of(index, [plain(call) for call in told])
                if repaired is not None:
                    delta.tool_calls = [type(told[0]).model_validate(call) for call in repaired] or None
        if chunk.choices and (reason := field_of(chunk.choices[-1], "finish_reason")) is not None:
            others = sorted(self._open.difference(choice.index for choice in chunk.choices))
            self._open.clear()
            if others:
                kind = type(chunk.choices[-1])
                chunk.choices = [*chunk.choices, *[kind(index=index, finish_reason=reason) for index in others]]


def tidy_usage_chunk(chunk: Any) -> None:
    """LiteLLM's usage chunk has an empty choice where OpenAI has none."""
    if chunk.choices and all(_is_empty(choice) for choice in chunk.choices):
        chunk.choices = []


def _is_empty(choice: Any) -> bool:
    delta = field_of(choice, "delta")
    says = delta_of(delta).says() or field_of(delta, "role") or field_of(choice, "text")
    return not says and field_of(choice, "finish_reason") is None


def without_usage(chunk: Any) -> Any | None:
    """The chunk without usage; None if it was there for nothing else."""
    if field_of(chunk, "usage") is None:
        return chunk
    if all(_is_empty(choice) for choice in getattr(chunk, "choices", None) or ()):
        return None
    chunk.usage = None
    return chunk


def error_frame(error: GatewayError) -> str:
    """The last event of a stream that has begun; LiteLLM sends [DONE] after it."""
    return error.frame().decode()


def _json(model: Any) -> bytes:
    return str(model.model_dump_json(exclude_none=True, exclude_unset=True)).encode()


def listen(exchange: Exchange, response: Any) -> None:
    """Remember where the chunks of a stream will be found. `response` is what LiteLLM is about to iterate over.

    Streams of other APIs that LiteLLM makes of chat or text completions keep theirs out of sight.
    """
    if is_from_cache(response):
        note_cache(exchange)
    chunks = getattr(response, "chunks", None)
    if isinstance(chunks, list):
        STREAM_CHUNKS.set(exchange, StreamChunks(chunks, len(exchange.attempts)))


def is_made_up(exchange: Exchange, chunk: Any) -> bool:
    """Whether the usage on a chunk is LiteLLM's own count. Usage that the provider reported replaces it."""
    chunks = _chunks_of_last_attempt(exchange)
    if chunks is None:
        return False
    reported = reported_in_chunks(chunks)
    if reported is None:
        return True
    chunk.usage = reported  # LiteLLM adds the total up anew
    return False


def is_all_made_up(exchange: Exchange) -> bool:
    """The same for the usage of LiteLLM's log event."""
    chunks = _chunks_of_last_attempt(exchange)
    return chunks is not None and reported_in_chunks(chunks) is None


def _note_told(exchange: Exchange) -> None:
    """What the provider had told of a stream that is not read to its end: LiteLLM takes it off the chunks it shows."""
    chunks = _chunks_of_last_attempt(exchange) or ()
    note_answering(exchange, chunks)
    if exchange.usage is None:
        note_unfinished(exchange, chunks)
    else:
        note_bills(exchange, chunks)


def _note_kept(exchange: Exchange) -> None:
    """What the provider has told of a whole stream, and LiteLLM has not shown: how it is billed, or all it has counted.

    LiteLLM looks whether it is asked for counts before a hook asks in the client's place, and asks by itself only where
    the provider knows of `stream_options`: Anthropic, which always counts, does not.
    """
    chunks = _chunks_of_last_attempt(exchange) or ()
    note_answering(exchange, chunks)
    note_bills(exchange, chunks)
    if exchange.usage is None:
        note_usage(exchange, reported_in_chunks(chunks))


def note_answering(exchange: Exchange, answers: Sequence[Any]) -> None:
    """Keep which model has answered, where LiteLLM then writes another name. `answers` are chunks, or a whole one."""
    if answers and (model := model_of(answers[0])) is not None:
        ANSWERED_BY.set(exchange, model)


def _chunks_of_last_attempt(exchange: Exchange) -> Sequence[Any] | None:
    """The chunks of the last attempt; None where they cannot be seen. A fallback's are elsewhere."""
    seen = STREAM_CHUNKS.get(exchange)
    return None if seen is None or len(exchange.attempts) != seen.attempts else seen.chunks
