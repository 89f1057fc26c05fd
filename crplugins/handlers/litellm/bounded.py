"""What litellm is sent by a provider, bounded before litellm reads it.

litellm reads a body of any length to its end. Of a refusal it makes texts that it searches for secrets, with patterns
that take some 30 us for a word, on the event loop: a megabyte that a client has said and a provider repeats would stop
the process for half a minute. Bodies are bounded as they are decoded, so that packed ones are too.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.errors import ErrorBody, ErrorObject, GatewayError
from crplugins.core.redaction import LONGEST_TEXT, cut
from crplugins.core.sse import MAX_EVENT_BYTES, first_events
from crplugins.handlers.error_bodies import MAX_ERROR_BYTES, read_refusal

_SHORT: Final = 4096
"""Bytes of a refusal that litellm reads as it is."""

LONGEST_WORD: Final = 200

_MODELS: Final = ("model", "modelVersion", "modelId")
"""Where providers tell which model has answered."""


def is_encoded(response: Any) -> bool:
    return "content-encoding" in response.headers


def decoded(response: Any) -> AsyncIterator[bytes]:
    """The body of a response of httpx, in pieces."""
    pieces: AsyncIterator[bytes] = response.aiter_bytes() if is_encoded(response) else aiter(response.stream)
    return pieces


async def refusal_in(response: Any) -> bytes:
    """The refusal in a response of httpx, which is closed."""
    try:
        return await short_refusal(decoded(response))
    finally:
        await response.stream.aclose()


async def short_refusal(pieces: AsyncIterator[bytes]) -> bytes:
    """The body of a refusal; of a long one what of it is read, in OpenAI's form."""
    body = b""
    async for piece in pieces:
        body += piece
        if len(body) > MAX_ERROR_BYTES:
            break
    return body if len(body) <= _SHORT else _shortened(read_refusal(body[:MAX_ERROR_BYTES]))


def _shortened(error: ErrorObject) -> bytes:
    words = [word and word[:LONGEST_WORD] for word in (error.type, error.param, error.code)]
    return msgspec.json.encode(ErrorBody(ErrorObject(cut(error.message, LONGEST_TEXT), words[0] or "", *words[1:])))


def with_short_names(document: bytes) -> bytes:
    """A plain answer in whose names nobody has put a book. litellm reads a megabyte of a model's name for 9 seconds."""
    if len(document) <= _SHORT:
        return document
    try:
        body = Body.of_answer(document)
    except GatewayError:
        return document
    for name in _MODELS:
        value = body.bytes_of(name)
        if value is not None and len(value) > LONGEST_WORD:
            body.set(name, (body.get(name, str) or "")[:LONGEST_WORD])
    choices = body.get("choices", list[dict[str, msgspec.Raw]]) or []
    long = [choice for choice in choices if len(bytes(choice.get("finish_reason", b""))) > LONGEST_WORD]
    for choice in long:
        choice["finish_reason"] = msgspec.Raw(b'"unknown"')
    if long:
        body.set("choices", choices)
    return body.raw


async def bounded_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body of a stream, which ends where a line is longer than an event may be. A flood comes in small pieces."""
    line = 0
    async for piece in pieces:
        line = 0 if b"\n" in piece else line + len(piece)
        if line > MAX_EVENT_BYTES:
            return
        now, later = first_events(piece)
        yield now
        while later:
            await asyncio.sleep(0)
            now, later = first_events(later)
            yield now
