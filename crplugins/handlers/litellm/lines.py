"""The lines of a provider's stream before litellm's readers see them.

The readers fail on, or end at, much that server-sent events allow: `event:`, `retry:` and `id:` lines, `data:` without
a value, objects that say nothing. And a provider may answer with one JSON document where a stream was asked for. Both
are put right here, for every reader of lines and for OpenAI's SDK.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from crplugins.core.answer_forms import stream_of
from crplugins.core.lenient_json import decode_leniently
from crplugins.core.sse import MAX_EVENT_BYTES

_FIELDS: Final = ("event:", "retry:", "id:", ":")
_EMPTY: Final = frozenset({"", "{}", "null", "[]"})
_HEARTBEATS: Final = frozenset({"ping", "heartbeat", "keepalive", "keep-alive", "keep_alive"})
LONGEST_HEARTBEAT: Final = 200
"""Longer data is not searched for a heartbeat."""


async def clean_lines(lines: AsyncIterator[str], *, are_json: bool) -> AsyncIterator[str]:
    """The `data:` lines that have a value, and those of a document in place of a stream.

    `are_json` says that the provider's stream has no `data:`: each line is JSON (Ollama).
    """
    document: list[str] = []
    size = 0
    async for line in lines:
        text = line.strip()
        if text.startswith("data:"):
            if len(text) > LONGEST_HEARTBEAT or not says_nothing(text[len("data:") :].strip()):
                yield line
        elif are_json:
            if text:
                yield line
        elif text and not text.startswith(_FIELDS) and (document or text.startswith(("{", "["))):
            document.append(line)
            size += len(line)
            if size > MAX_EVENT_BYTES:
                return
    for event in events_of("\n".join(document).encode("utf-8", "surrogatepass")) if document else ():
        yield event.decode().rstrip("\n")


async def clean_bytes(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes of a stream as they are; those of a document as the events of a stream."""
    beginning = b""
    async for chunk in chunks:
        beginning += chunk
        if beginning.strip():
            break
    if not beginning.lstrip().startswith((b"{", b"[")):
        yield beginning
        async for chunk in chunks:
            yield chunk
        yield b"\n\n"  # else OpenAI's SDK drops a last event without its blank line
        return
    pieces, size = [beginning], len(beginning)
    async for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size > MAX_EVENT_BYTES:
            return
    for event in events_of(b"".join(pieces)):
        yield event


def says_nothing(data: str) -> bool:
    """Whether the data of an event is a heartbeat."""
    if data in _EMPTY:
        return True
    if len(data) > LONGEST_HEARTBEAT or not any(word in data for word in _HEARTBEATS):
        return False
    try:
        fields = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return False
    return isinstance(fields, dict) and any(fields.get(key) in _HEARTBEATS for key in ("type", "event", "object"))


def events_of(document: bytes) -> list[bytes]:
    """The events that say what a whole document says; none for what no client could read."""
    try:
        answer = decode_leniently(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if isinstance(answer, dict) and isinstance(answer.get("choices"), list) and not answer.get("error"):
        try:
            return [event.raw for event in stream_of(document)]
        except (AttributeError, TypeError):  # choices that are no objects
            return []
    parts = answer if isinstance(answer, list) else [answer]
    return [_event(part) for part in parts if isinstance(part, dict) and _is_chunk(part)]


def _is_chunk(part: dict[str, Any]) -> bool:
    """An error, or a chunk of Gemini's, whose stream may be a list of them, or none but a refusal."""
    return bool(part.get("error") or part.get("candidates") or part.get("promptFeedback"))


def _event(part: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(part) + b"\n\n"
