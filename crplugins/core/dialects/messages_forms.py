"""The two forms of one message of Anthropic's: a whole `message`, and the events of a stream.

Some servers send one where the other was asked for. Every field is kept, also those that are not known here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from crplugins.core.dialects.dialect import typed_frame
from crplugins.core.lenient_json import NOT_JSON, decode_with_halves, encoded, joined, object_of, objects_of
from crplugins.core.usage import TokenUsage

_IN_PIECES: Final = (("text", "text_delta"), ("thinking", "thinking_delta"), ("signature", "signature_delta"))
"""Members of a block that a stream tells in deltas, and the type of the delta."""

_JOINED: Final = frozenset({"text", "thinking", "signature", "content", "partial_json"})
_LAST: Final = ("stop_reason", "stop_sequence")


def stream_of(document: bytes) -> bytes:
    """The stream that says what a whole message says. Raises what `decode_with_halves` raises."""
    return b"".join([typed_frame(event) for event in _events_of(decode_with_halves(document))])


def _events_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    usage = object_of(message.get("usage"))
    begun = {**message, "content": [], **dict.fromkeys(_LAST), "usage": {**usage, "output_tokens": 0}}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(objects_of(message.get("content"))):
        yield from _events_of_block(index, block)
    end = {name: message.get(name) for name in _LAST}
    yield {"type": "message_delta", "delta": end, "usage": usage}
    yield {"type": "message_stop"}


def _events_of_block(index: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    told = [(name, kind) for name, kind in _IN_PIECES if isinstance(block.get(name), str)]
    start = {**block, **{name: "" for name, _ in told}}
    deltas: list[dict[str, Any]] = [{"type": kind, name: block[name]} for name, kind in told]
    if citations := objects_of(block.get("citations")):
        start["citations"] = []
        deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
    if isinstance(block.get("input"), dict):
        start["input"] = {}
        deltas.append({"type": "input_json_delta", "partial_json": encoded(block["input"]).decode()})
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def document_of(events: Iterable[bytes]) -> bytes:
    """The whole message that the data of the events of a complete stream tells. Linear in its size."""
    message: dict[str, Any] = {}
    blocks: dict[int, _Block] = {}
    for data in events:
        event = object_of(decode_with_halves(data)) if data[:1] == b"{" else {}
        kind, index = event.get("type"), event.get("index")
        if kind == "message_start":
            message |= object_of(event.get("message"))
        elif kind == "content_block_start" and isinstance(index, int):
            blocks[index] = _Block(object_of(event.get("content_block")))
        elif kind == "content_block_delta" and isinstance(index, int):
            blocks.setdefault(index, _Block({})).add(object_of(event.get("delta")))
        elif kind == "message_delta":
            message |= object_of(event.get("delta"))
            counts = {name: value for name, value in object_of(event.get("usage")).items() if value is not None}
            message["usage"] = {**object_of(message.get("usage")), **counts}
    content = [block.value() for _, block in sorted(blocks.items(), key=lambda item: item[0])]
    return encoded({"type": "message", "role": "assistant", **message, "content": content})


def with_usage(data: bytes, usage: Mapping[str, Any]) -> bytes:
    """An event that counts, or a whole message, with this usage alone."""
    event = object_of(decode_with_halves(data))
    message = event.get("message")
    inner = (
        {**event, "message": {**message, "usage": usage}} if isinstance(message, dict) else {**event, "usage": usage}
    )
    return encoded(inner)


def usage_object(usage: TokenUsage) -> dict[str, Any]:
    """Anthropic's `usage` of these counts."""
    cached, written = usage.cached_input_tokens, usage.cache_write_input_tokens
    for_an_hour = usage.long_cache_write_input_tokens
    told: dict[str, Any] = {
        "input_tokens": max(usage.input_tokens - cached - written, 0),
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": max(written - for_an_hour, 0), "ephemeral_1h_input_tokens": for_an_hour,
        },
    }  # fmt: skip
    if usage.reasoning_output_tokens:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_output_tokens}
    if usage.web_searches:
        told["server_tool_use"] = {"web_search_requests": usage.web_searches}
    return told


class _Block:
    """One block that came in pieces."""

    def __init__(self, start: dict[str, Any]) -> None:
        self._start = start
        self._pieces: dict[str, list[str]] = {}
        self._citations: list[Any] = []

    def add(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "citation":
                self._citations.append(value)
            elif name in _JOINED and isinstance(value, str):
                self._pieces.setdefault(name, []).append(value)
            elif name != "type":
                self._start[name] = value

    def value(self) -> dict[str, Any]:
        block = {"type": "text", **self._start}
        for name, pieces in self._pieces.items():
            text = joined(pieces)
            if name == "partial_json":
                block["input"] = _input(text)
            else:
                before = block.get(name)
                block[name] = (before if isinstance(before, str) else "") + text
        if self._citations:
            block["citations"] = [*objects_of(block.get("citations")), *self._citations]
        return block


def _input(text: str) -> Any:
    """The input of a call, whose numbers keep their spelling; the text itself if it is no JSON."""
    try:
        return msgspec.json.decode(text.encode(), type=msgspec.Raw)
    except msgspec.DecodeError:
        return text
    except UnicodeEncodeError:  # half a surrogate pair whose other half has never come
        pass
    try:
        return decode_with_halves(text.encode("utf-8", "surrogatepass"))
    except NOT_JSON:
        return text
