"""Renders a completion in the very form of api.openai.com: the full answer, or the chunks of a stream.

The form is that of recorded answers of gpt-4o: `refusal`, `logprobs` and `finish_reason` stand there as null, one id,
one `created` and one model on all chunks, a role and a finish chunk per index, usage in a chunk of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, Literal

import msgspec

from crplugins.testing.model import Completion, ModelChoice
from crplugins.testing.tokens import pieces
from crplugins.testing.tool_calls import ToolCall

UsagePlace = Literal["none", "own_chunk", "finish_chunk"]
FINGERPRINT = "fp_44709d6fcb"
DONE = b"data: [DONE]\n\n"
_KEYS: dict[str, str] = {"function": "arguments", "custom": "input"}


def frame(chunk: object) -> bytes:
    """`data: {json}` and the blank line."""
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def full_answer(completion: Completion, *, usage: bool = True) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    body = _envelope(completion, "chat.completion")
    body["choices"] = [_full_choice(choice, completion) for choice in completion.choices]
    if usage:
        body["usage"] = completion.usage
    return body


def stream_frames(completion: Completion, *, usage: UsagePlace = "none", chunk_size: int | None = None) -> list[bytes]:
    """The frames of a stream, `[DONE]` included.

    `chunk_size` is the length of a delta in characters; by default each token is a delta.
    """
    envelope = _envelope(completion, "chat.completion.chunk")
    tail: dict[str, Any] = {"usage": None} if usage == "own_chunk" else {}
    frames = [frame({**envelope, "choices": [choice], **tail}) for choice in _interleaved(completion, chunk_size)]
    if usage == "finish_chunk":
        last = len(completion.choices) - 1
        finish = _chunk_choice(last, {}, None, completion.choices[last].finish_reason)
        frames[-1] = frame({**envelope, "choices": [finish], "usage": completion.usage})
    if usage == "own_chunk":
        frames.append(frame({**envelope, "choices": [], "usage": completion.usage}))
    return [*frames, DONE]


def _envelope(completion: Completion, kind: str) -> dict[str, Any]:
    return {
        "id": completion.id,
        "object": kind,
        "created": completion.created,
        "model": completion.model,
        "service_tier": completion.service_tier,
        "system_fingerprint": FINGERPRINT,
    }


def _full_choice(choice: ModelChoice, completion: Completion) -> dict[str, Any]:
    content = None if choice.calls else "".join(choice.tokens)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if choice.calls and completion.legacy:
        message["function_call"] = {"name": choice.calls[0].name, "arguments": choice.calls[0].arguments}
    elif choice.calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in choice.calls]
    return {
        "index": choice.index,
        "message": message,
        "logprobs": _logprobs(choice.tokens, completion) if content is not None else None,
        "finish_reason": choice.finish_reason,
    }


def _interleaved(completion: Completion, chunk_size: int | None) -> Iterator[dict[str, Any]]:
    """One delta of each index in turn, then the finish chunks, as recorded with n=3."""
    streams = [list(_deltas(choice, completion, chunk_size)) for choice in completion.choices]
    for row in zip_longest(*streams):
        yield from (chunk for chunk in row if chunk is not None)
    for choice in completion.choices:
        yield _chunk_choice(choice.index, {}, None, choice.finish_reason)


def _deltas(choice: ModelChoice, completion: Completion, chunk_size: int | None) -> Iterator[dict[str, Any]]:
    if choice.calls:
        for delta in _legacy_deltas(choice.calls[0]) if completion.legacy else _call_deltas(choice.calls):
            yield _chunk_choice(choice.index, delta, None)
        return
    first = {"role": "assistant", "content": "", "refusal": None}
    yield _chunk_choice(choice.index, first, _logprobs((), completion))
    for tokens in _grouped(choice.tokens, chunk_size):
        yield _chunk_choice(choice.index, {"content": "".join(tokens)}, _logprobs(tokens, completion))


def _call_deltas(calls: tuple[ToolCall, ...]) -> Iterator[dict[str, Any]]:
    """A single call opens in the first chunk; with several the role has a chunk of its own (both as recorded)."""
    start: dict[str, Any] = {"role": "assistant", "content": None}
    if len(calls) > 1:
        yield start
    for index, call in enumerate(calls):
        opening = {"tool_calls": [{"index": index, **_call(call, "")}]}
        yield opening if len(calls) > 1 else {**start, **opening, "refusal": None}
        for piece in pieces(call.arguments):
            yield {"tool_calls": [{"index": index, call.kind: {_KEYS[call.kind]: piece}}]}


def _legacy_deltas(call: ToolCall) -> Iterator[dict[str, Any]]:
    opening = {"name": call.name, "arguments": ""}
    yield {"role": "assistant", "content": None, "function_call": opening, "refusal": None}
    for piece in pieces(call.arguments):
        yield {"function_call": {"arguments": piece}}


def _call(call: ToolCall, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": call.kind, call.kind: {"name": call.name, _KEYS[call.kind]: arguments}}


def _chunk_choice(
    index: int, delta: Mapping[str, Any], logprobs: object, finish_reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _grouped(tokens: tuple[str, ...], chunk_size: int | None) -> Iterator[tuple[str, ...]]:
    if chunk_size is None:
        yield from ((token,) for token in tokens)
        return
    text = "".join(tokens)
    yield from ((text[start : start + chunk_size],) for start in range(0, len(text), chunk_size))


def _logprobs(tokens: tuple[str, ...], completion: Completion) -> dict[str, Any] | None:
    if completion.top_logprobs is None:
        return None
    return {"content": [_logprob(token, completion.top_logprobs) for token in tokens], "refusal": None}


def _logprob(token: str, top: int) -> dict[str, Any]:
    entry = _alternative(token, 0)
    return {**entry, "top_logprobs": [_alternative(token, rank) for rank in range(top)]}


def _alternative(token: str, rank: int) -> dict[str, Any]:
    text = token if rank == 0 else f"{token}{rank}"
    return {"token": text, "logprob": -0.125 - rank, "bytes": list(text.encode("utf-8", "surrogatepass"))}
