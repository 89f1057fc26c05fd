"""What LiteLLM's answers say of themselves, noted on the Exchange; and whose counts their usage is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from crplugins.core.exchange import Exchange, Slot
from crplugins.handlers.litellm.usage import as_usage, usage_object


@dataclass(frozen=True, slots=True)
class Heard:
    """The chunks of a stream as the provider's parsers left them, and which attempt's they are.

    LiteLLM keeps them to put the answer together. Where none has usage it counts tokens itself, and says so nowhere.
    """

    chunks: Sequence[Any]
    attempts: int


HEARD: Final[Slot[Heard]] = Slot("litellm_chunks")


def listen(exchange: Exchange, response: Any) -> None:
    """Remember where the chunks of a stream will be found. `response` is what LiteLLM is about to iterate over.

    Streams of other APIs that LiteLLM makes of chat or text completions keep theirs out of sight.
    """
    chunks = getattr(response, "chunks", None)
    if isinstance(chunks, list):
        HEARD.set(exchange, Heard(chunks, len(exchange.attempts)))


def is_made_up(exchange: Exchange, chunk: Any) -> bool:
    """Whether the usage on a chunk is LiteLLM's own count. What the provider told replaces it, where it told any."""
    chunks = _heard(exchange)
    if chunks is None:
        return False
    told = told_in(chunks)
    if told is None:
        return True
    chunk.usage = told  # up to 1.96 LiteLLM overlooks it beside a finish reason
    return False


def told_in(chunks: Sequence[Any]) -> Any:
    """The provider's own usage, None if it told none."""
    for chunk in reversed(chunks):
        told = field_of(chunk, "usage")
        if told is not None and usage_object(told) is not None:  # 0 and 0 are LiteLLM's
            return told
    return None


def is_all_made_up(exchange: Exchange) -> bool:
    """The same for the usage of LiteLLM's log event."""
    chunks = _heard(exchange)
    return chunks is not None and told_in(chunks) is None


def _heard(exchange: Exchange) -> Sequence[Any] | None:
    """The chunks of the last attempt; None where they cannot be seen. A fallback's are elsewhere."""
    heard = HEARD.get(exchange)
    return None if heard is None or len(exchange.attempts) != heard.attempts else heard.chunks


def note_said(exchange: Exchange, choices: Sequence[Any], place: str = "delta") -> None:
    """Keep what is said in `delta` or `message`; the same as `note_facts`, without building its JSON."""
    for choice in choices:
        if size := size_of(field_of(choice, place)):
            exchange.output_bytes += size
            exchange.timings.token(exchange.clock())
        reason = field_of(choice, "finish_reason")
        if reason is not None:
            exchange.finish_reason = str(reason)


def note_usage(exchange: Exchange, usage: Any, *, estimated: bool = False) -> None:
    """Keep token counts, where there are some. LiteLLM's 0 and 0 are no counts."""
    found = None if usage is None else usage_object(usage)
    if found is not None:
        exchange.usage, exchange.usage_source = as_usage(found), "estimated" if estimated else "provider"


def size_of(said: Any) -> int:
    """UTF-8 bytes of a delta or a message."""
    if said is None:
        return 0
    size = 0
    for name in ("content", "reasoning_content", "refusal"):
        text = field_of(said, name)
        if isinstance(text, str) and text:
            size += len(text) if text.isascii() else len(text.encode())
    for call in field_of(said, "tool_calls") or ():
        function = field_of(call, "function")
        size += len(field_of(function, "name") or "") + len(field_of(function, "arguments") or "")
    return size


def field_of(model: Any, name: str) -> Any:
    """A field of one of LiteLLM's objects, None without it.

    Its chunks keep nearly all in pydantic's extra fields, where `getattr` takes 1 us for what is there and 2 us for
    what is not; for each chunk that adds up to more than all the plugins take.
    """
    try:
        own = model.__dict__
    except AttributeError:  # None, a dict
        return model.get(name) if isinstance(model, dict) else None
    found = own.get(name)
    if found is None and (extra := getattr(model, "__pydantic_extra__", None)):
        return extra.get(name)
    return found
