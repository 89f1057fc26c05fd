"""The form of chat completions, the very one of api.openai.com: the full answer, or the chunks of a stream.

The form is that of recorded answers of gpt-4o: `refusal`, `logprobs` and `finish_reason` stand there as null, one id,
one `created` and one model on all chunks, a role and a finish chunk per index, usage in a chunk of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from crplugins.handlers.wires.completion import Completion, ModelChoice, ToolCall, grouped, pieces
from crplugins.handlers.wires.wire import UsagePlace, Wire, frame

FINGERPRINT: Final = "fp_44709d6fcb"
DONE: Final = b"data: [DONE]\n\n"
_KEYS: Final[Mapping[str, str]] = {"function": "arguments", "custom": "input"}


class ChatWire(Wire):
    """`POST /v1/chat/completions`."""

    path = "/chat/completions"
    id_prefix = "chatcmpl-"
    always_tells_usage = False
    requires = ("messages",)

    def as_chat(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return dict(request)

    def whole(self, completion: Completion, request: Mapping[str, Any], *, usage: bool = True) -> dict[str, Any]:
        body = _envelope(completion, "chat.completion")
        body["choices"] = [_full_choice(choice, completion) for choice in completion.choices]
        if usage:
            body["usage"] = completion.usage
        return body

    def frames(
        self,
        completion: Completion,
        request: Mapping[str, Any],
        *,
        usage: UsagePlace = "none",
        chunk_size: int | None = None,
    ) -> list[bytes]:
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
    content = None if choice.calls and not choice.tokens else "".join(choice.tokens)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    if choice.thoughts:
        message["reasoning_content"] = "".join(choice.thoughts)
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
    for tokens in grouped(choice.thoughts, chunk_size):
        yield _chunk_choice(choice.index, {"reasoning_content": "".join(tokens)}, None)
    if choice.tokens or not choice.calls:
        first = {"role": "assistant", "content": "", "refusal": None}
        yield _chunk_choice(choice.index, first, _logprobs((), completion))
        for tokens in grouped(choice.tokens, chunk_size):
            yield _chunk_choice(choice.index, {"content": "".join(tokens)}, _logprobs(tokens, completion))
    if choice.calls:
        for delta in _legacy_deltas(choice.calls[0]) if completion.legacy else _call_deltas(choice.calls):
            yield _chunk_choice(choice.index, delta, None)


def _call_deltas(calls: Sequence[ToolCall]) -> Iterator[dict[str, Any]]:
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


def _logprobs(tokens: Sequence[str], completion: Completion) -> dict[str, Any] | None:
    if completion.top_logprobs is None:
        return None
    return {"content": [_logprob(token, completion.top_logprobs) for token in tokens], "refusal": None}


def _logprob(token: str, top: int) -> dict[str, Any]:
    entry = _alternative(token, 0)
    return {**entry, "top_logprobs": [_alternative(token, rank) for rank in range(top)]}


def _alternative(token: str, rank: int) -> dict[str, Any]:
    text = token if rank == 0 else f"{token}{rank}"
    return {"token": text, "logprob": -0.125 - rank, "bytes": list(text.encode("utf-8", "surrogatepass"))}


CHAT_WIRE: Final = ChatWire()
