"""LiteLLM's answers as the plugins and then the clients see them."""

from typing import Any, Final

from crplugins.core.errors import GatewayError
from crplugins.core.exchange import note_facts
from crplugins.core.sse import Event
from crplugins.homes.litellm_proxy_calls import ProxyCall
from crplugins.homes.litellm_proxy_facts import field_of, is_made_up, note_said, note_usage, size_of

_UNREAD: Final = Event.json_document(b"{}")


def note_chunk(call: ProxyCall, chunk: Any, usage: Any) -> None:
    """Keep what a chunk says of itself. `usage` is what stands on it."""
    note_said(call.exchange, chunk.choices)
    if usage is not None:
        made_up = is_made_up(call.exchange, chunk)
        note_usage(call.exchange, chunk.usage, estimated=call.estimated or made_up)


def tidy_usage_chunk(chunk: Any) -> None:
    """LiteLLM's usage chunk has an empty choice where OpenAI has none."""
    if chunk.choices and all(_is_empty(choice) for choice in chunk.choices):
        chunk.choices = []


def _is_empty(choice: Any) -> bool:
    delta = field_of(choice, "delta")
    says = size_of(delta) or field_of(delta, "role") or field_of(choice, "text")
    return not says and field_of(choice, "finish_reason") is None


def without_usage(chunk: Any) -> Any | None:
    """The chunk without usage; None if it was there for nothing else."""
    if field_of(chunk, "usage") is None:
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


def pass_document(call: ProxyCall, response: Any) -> None:
    """Tell the plugins of an answer that none of them reads: that it is there. One may refuse it for its usage."""
    note_said(call.exchange, response.choices, "message")
    call.pipeline.event(call.exchange, _UNREAD, call.entered)


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
