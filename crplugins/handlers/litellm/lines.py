"""The lines of a provider's stream before litellm's readers see them.

The readers fail on, or end at, much that server-sent events allow: `event:`, `retry:` and `id:` lines, `data:` without
a value, objects that say nothing. And a provider may answer with one JSON document where a stream was asked for. Both
are put right here, for every reader of lines and for OpenAI's SDK.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from crplugins.core.answer_forms import named_error, stream_of
from crplugins.core.lenient_json import NOT_JSON, decode_leniently
from crplugins.core.sse import MAX_EVENT_BYTES, Event

_FIELDS: Final = ("event:", "retry:", "id:", ":")
_EMPTY: Final = frozenset({"", "{}", "null", "[]"})
_HEARTBEATS: Final = frozenset({"ping", "heartbeat", "keepalive", "keep-alive", "keep_alive"})
_MOST_HELD: Final = 100
_LONGEST_HELD: Final = 256 * 1024
"""Lines of one event, and their characters: each new line has all of them decoded again."""

LONGEST_HEARTBEAT: Final = 200
"""Longer data is not searched for a heartbeat."""


async def clean_lines(
    lines: AsyncIterator[str], *, are_json: bool, malformed: Callable[[], None]
) -> AsyncIterator[str]:
    """The `data:` lines that have a value, and those of a document in place of a stream.

    Args:
        are_json: the provider's stream has no `data:`: each line is JSON (Ollama).
        malformed: called for an event that is left out because nobody can read it.
    """
    document: list[str] = []
    size = 0
    async for line in _with_errors(_readable(lines, malformed, are_json=are_json)):
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


async def _with_errors(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The lines with each error where litellm's readers look for one, and without one that says nothing."""
    name = ""
    async for line in lines:
        field, _, value = line.strip().partition(":")
        if field == "event":
            name = value.strip()
        if field == "error":  # llama.cpp, until the end of 2025
            yield _with_error(f"data: {value}", value.strip(), "error")
        elif field == "data":
            yield _with_error(line, value.strip(), name)
            name = ""
        else:
            yield line


def _with_error(line: str, data: str, name: str) -> str:
    if '"delta"' in data and '"error"' not in data and name != "error":
        return line  # nearly every one
    event = Event(b"", data.encode("utf-8", "surrogatepass"), name.encode())
    told = named_error(event)
    return line if told is event or told.data is None else f"data: {told.data.decode()}"


async def _readable(lines: AsyncIterator[str], malformed: Callable[[], None], *, are_json: bool) -> AsyncIterator[str]:
    """The lines without the events that nobody can read; an event that is told in several lines is one of them.

    Such lines are held until the event is whole, which is at a blank line, or where the next event begins. What is held
    at the end of the body was cut.
    """
    held = ""
    async for line in lines:
        text = line.strip()
        is_data = text.startswith("data:")
        if not (is_data or (are_json and text) or held):
            yield line
            continue
        data = text[len("data:") :].strip() if is_data else text
        if held and not is_malformed(whole := f"{held}\n{data}"):
            yield f"data: {whole}"
            held = ""
        elif not is_malformed(data):
            if held:
                malformed()
                held = ""
            yield line
        elif is_data and held.count("\n") < _MOST_HELD and len(held) + len(data) <= _LONGEST_HELD:
            held = whole if held else data
        else:
            malformed()
            held = ""


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


def is_malformed(data: str) -> bool:
    """Whether the data of an event is something that nobody can read, see `Event`."""
    return Event(b"", data.encode("utf-8", "surrogatepass")).is_malformed


def events_of(document: bytes) -> list[bytes]:
    """The events that say what a whole document says; none for what no client could read."""
    try:
        answer = decode_leniently(document)
    except NOT_JSON:
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
