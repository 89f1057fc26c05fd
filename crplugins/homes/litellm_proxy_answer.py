"""What LiteLLM's answers say, for the Exchange and for plugins that look at events."""

from typing import Any

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.response import note_facts
from crplugins.core.sse import Event
from crplugins.handlers.litellm_usage import as_usage, usage_object
from crplugins.homes.litellm_proxy_calls import ProxyCall


def note_chunk(call: ProxyCall, chunk: Any) -> None:
    """Keep what a chunk says of itself; the same as `note_facts`, without building its JSON."""
    exchange = call.exchange
    for choice in getattr(chunk, "choices", None) or ():
        if size := _size(getattr(choice, "delta", None)):
            exchange.output_bytes += size
            exchange.timings.token(exchange.clock())
        reason = getattr(choice, "finish_reason", None)
        if reason is not None:
            exchange.finish_reason = str(reason)
    note_usage(exchange, getattr(chunk, "usage", None), estimated=call.estimated)


def note_usage(exchange: Exchange, usage: Any, *, estimated: bool = False) -> None:
    """Keep token counts, where there are some. LiteLLM's 0 and 0 are no counts."""
    found = None if usage is None else usage_object(usage)
    if found is not None:
        exchange.usage, exchange.usage_source = as_usage(found), "estimated" if estimated else "provider"


def _size(delta: Any) -> int:
    """UTF-8 bytes of what is said."""
    if delta is None:
        return 0
    size = 0
    for name in ("content", "reasoning_content", "refusal"):
        text = getattr(delta, name, None)
        if isinstance(text, str) and text:
            size += len(text) if text.isascii() else len(text.encode())
    for call in getattr(delta, "tool_calls", None) or ():
        function = getattr(call, "function", None)
        size += len(getattr(function, "name", None) or "") + len(getattr(function, "arguments", None) or "")
    return size


def tidy_usage_chunk(chunk: Any) -> None:
    """LiteLLM's usage chunk has an empty choice where OpenAI has none."""
    if getattr(chunk, "usage", None) is None:
        return
    choices = getattr(chunk, "choices", None)
    if choices and all(_is_empty(choice) for choice in choices):
        chunk.choices = []


def _is_empty(choice: Any) -> bool:
    delta = getattr(choice, "delta", None)
    return getattr(choice, "finish_reason", None) is None and not _size(delta) and not getattr(delta, "role", None)


def without_usage(chunk: Any) -> Any | None:
    """The chunk without usage; None if it was there for nothing else."""
    if getattr(chunk, "usage", None) is None:
        return chunk
    if all(_is_empty(choice) for choice in getattr(chunk, "choices", None) or ()):
        return None
    chunk.usage = None
    return chunk


def shown_chunk(call: ProxyCall, chunk: Any) -> Any | None:
    """The chunk as the plugins leave it; None if one of them dropped it."""
    event = Event.of(_json(chunk))
    passed = call.pipeline.event(call.exchange, event, call.entered)
    if passed is event or passed is None or passed.data is None:
        return chunk if passed is event else None
    return type(chunk).model_validate_json(passed.data)


def added_chunks(call: ProxyCall, like: type[Any]) -> list[Any]:
    """What plugins add at the end of a stream."""
    events = call.pipeline.end(call.exchange, call.entered)
    return [like.model_validate_json(event.data) for event in events if event.data is not None]


def shown_document(call: ProxyCall, response: Any) -> Any:
    """The answer as the plugins leave it; the same object if they leave it alone."""
    event = Event.json_document(_json(response))
    note_facts(call.exchange, event)
    passed = call.pipeline.event(call.exchange, event, call.entered)
    if passed is event or passed is None or passed.data is None:
        return response
    return type(response).model_validate_json(passed.data)


def error_frame(error: GatewayError) -> str:
    """The last event of a stream that has begun; LiteLLM sends [DONE] behind it."""
    return error.frame().decode()


def _json(model: Any) -> bytes:
    return str(model.model_dump_json(exclude_none=True, exclude_unset=True)).encode()
